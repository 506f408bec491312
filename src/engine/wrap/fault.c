/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault: rules that say which calls go wrong, and how. What nonsense looks like is in nonsense.c.
 */
#include "engine/wrap/fault.h"
#include "base/base.h"
#include <pthread.h>

struct rule {
    struct rule *next;
    struct berth_fault_rule what; /* its strings are `call` and `workload` */
    char *call, *workload;
    uint64_t seen, hits;
};

struct fault {
    pthread_mutex_t lock;
    struct rule *rules; /* in the order of their adding */
    uint64_t hits;
};

static const struct berth_engine fault_identity = {.name = "fault"};

/* ---- a call crosses */

static bool fits(const struct rule *rule, const struct crossing *c)
{
    if (rule->call && strcmp(rule->call, c->method->name))
        return false;
    return !rule->workload || (c->workload && !strcmp(rule->workload, c->workload));
}

static bool hits(struct rule *rule)
{
    rule->seen++;
    if (rule->seen < rule->what.nth || (rule->what.times && rule->hits >= rule->what.times))
        return false;
    rule->hits++;
    return true;
}

/** All rules count the call; the first that hits it decides. */
static bool decide(struct fault *f, const struct crossing *c, struct berth_fault_rule *ret)
{
    bool found = false;
    pthread_mutex_lock(&f->lock);
    for (struct rule *rule = f->rules; rule; rule = rule->next)
        if (fits(rule, c) && hits(rule) && !found) {
            *ret = rule->what;
            found = true;
        }
    f->hits += found;
    pthread_mutex_unlock(&f->lock);
    return found;
}

static int say(const struct crossing *c, int code, const char *when, struct berth_error *err)
{
    return fail(err, code, c->workload, "%s: a rule of the fault layer says so%s", c->method->name, when);
}

static int fault_enter(void *layer, struct crossing *c, struct berth_error *err)
{
    struct berth_fault_rule rule = {0};
    if (!decide(layer, c, &rule))
        return 0;
    c->delay_msec = rule.delay_msec;
    if (rule.nonsense)
        nonsense_begin(c, rule.nonsense);
    else if (rule.code && rule.after)
        c->late_code = rule.code;
    else if (rule.code)
        return say(c, rule.code, "", err);
    return 0;
}

static int fault_leave(void *layer, struct crossing *c, int r, void *answer, struct berth_error *err)
{
    if (r == BERTH_AGAIN)
        return r;
    if (c->late_code) {
        answer_drop(c, r, answer);
        return say(c, c->late_code, ", after the engine was asked", err);
    }
    return c->nonsense ? nonsense_make(c, r, answer, err) : r;
}

/* ---- rules */

static void rules_free(struct fault *f)
{
    while (f->rules) {
        struct rule *rule = f->rules;
        f->rules = rule->next;
        free(rule->call);
        free(rule->workload);
        free(rule);
    }
}

static void fault_close(void *layer)
{
    struct fault *f = layer;
    rules_free(f);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct wrap_layer fault_layer = {&fault_identity, fault_enter, fault_leave, fault_close};

int berth_fault(struct berth_runtime *inner, struct berth_runtime **ret_runtime,
                struct berth_error *err)
{
    if (!inner || !ret_runtime)
        return fail(err, BERTH_INVALID, NULL, "fault: an argument is NULL");
    struct fault *f = calloc(1, sizeof(*f));
    if (!f)
        return fail_memory(err);
    pthread_mutex_init(&f->lock, NULL);
    return wrap_open(&fault_layer, f, inner, ret_runtime, err);
}

static bool is_method(const char *name)
{
    for (size_t i = 0; i < wrap_methods_count; i++)
        if (!strcmp(wrap_methods[i].name, name))
            return true;
    return false;
}

static int check_rule(const struct berth_fault_rule *rule, struct berth_error *err)
{
    if (rule->call && !is_method(rule->call))
        return fail(err, BERTH_INVALID, rule->call, "fault: no function of an engine is called \"%.64s\"",
                    rule->call);
    if (rule->code && (rule->code == BERTH_AGAIN || !strcmp(berth_code_name(rule->code), "UNKNOWN")))
        return fail(err, BERTH_INVALID, NULL, "fault: %d is no code to fail with", rule->code);
    if (rule->nonsense < BERTH_SENSE || rule->nonsense > BERTH_NONSENSE_WAIT)
        return fail(err, BERTH_INVALID, NULL, "fault: %d is no kind of nonsense", rule->nonsense);
    if (rule->code && rule->nonsense)
        return fail(err, BERTH_INVALID, NULL, "fault: `code` and `nonsense` exclude each other");
    if (rule->delay_msec < 0 || rule->delay_msec > INT64_MAX / 2000)
        return fail(err, BERTH_INVALID, NULL, "fault: a delay of %lld ms", (long long)rule->delay_msec);
    return 0;
}

static struct rule *rule_new(const struct berth_fault_rule *what)
{
    struct rule *rule = calloc(1, sizeof(*rule));
    if (!rule)
        return NULL;
    rule->what = *what;
    rule->call = what->call ? strdup(what->call) : NULL;
    rule->workload = what->workload ? strdup(what->workload) : NULL;
    if ((what->call && !rule->call) || (what->workload && !rule->workload)) {
        free(rule->call);
        free(rule->workload);
        free(rule);
        return NULL;
    }
    return rule;
}

int berth_fault_add(struct berth_runtime *runtime, const struct berth_fault_rule *rule,
                    struct berth_error *err)
{
    struct berth_fault_rule full;
    void *data;
    int r = wrap_find(runtime, &fault_layer, &data, err);
    if (r < 0 || (r = options_take(rule, &full, sizeof(full), err)) < 0 ||
        (r = check_rule(&full, err)) < 0)
        return r;
    struct fault *f = data;
    struct rule *new = rule_new(&full);
    if (!new)
        return fail_memory(err);
    pthread_mutex_lock(&f->lock);
    struct rule **end = &f->rules;
    while (*end)
        end = &(*end)->next;
    *end = new;
    pthread_mutex_unlock(&f->lock);
    return 0;
}

int berth_fault_clear(struct berth_runtime *runtime, uint64_t *ret_hits, struct berth_error *err)
{
    void *data;
    int r = wrap_find(runtime, &fault_layer, &data, err);
    if (r < 0)
        return r;
    struct fault *f = data;
    pthread_mutex_lock(&f->lock);
    if (ret_hits)
        *ret_hits = f->hits;
    f->hits = 0;
    rules_free(f);
    pthread_mutex_unlock(&f->lock);
    return 0;
}
