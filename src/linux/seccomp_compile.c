/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a docker-format profile to a filter: for each architecture a binary tree over ranges of
 * numbers.
 *
 * libseccomp knows the numbers; the code is ours, because its own has one leaf for each call (a
 * thousand instructions, 700 microseconds to load) where ranges of calls that share an action need
 * a tenth.
 *
 * Rules of one call: those with arguments come first, strictest first, then the one without, then
 * the default. A number above all that the profile names is newer than the profile: ENOSYS, so that
 * programs fall back.
 */
#include "linux/syscall_filter.h"

#include "base/base.h"
#include "base/text.h"
#include "linux/privilege.h"

#include <errno.h>
#include <jansson.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#define DATA_NR     0
#define DATA_ARCH   4
#define DATA_ARG(i) (16 + 8 * (i))

#define X32_BIT        0x40000000u
#define NUMBER_MAX     1024
#define RULES_MAX      4096
#define CONDITIONS_MAX 6
#define CODE_MAX       BPF_MAXINSNS

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW  0
#define HIGH 4
#else
#define LOW  4
#define HIGH 0
#endif

enum operation { OP_NE, OP_LT, OP_LE, OP_EQ, OP_GE, OP_GT, OP_MASKED_EQ, OP_COUNT };

struct condition {
    unsigned index;
    int op;
    uint64_t value, masked;
};

struct rule {
    int number;
    uint32_t action;
    size_t n;
    struct condition conditions[CONDITIONS_MAX];
};

struct arch {
    const char *name, *go;
    uint32_t scmp, audit;
};

static const struct arch arches[] = {
    {"SCMP_ARCH_X86_64", "amd64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64},
    {"SCMP_ARCH_X86", "x86", SCMP_ARCH_X86, AUDIT_ARCH_I386},
    {"SCMP_ARCH_AARCH64", "arm64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64},
    {"SCMP_ARCH_ARM", "arm", SCMP_ARCH_ARM, AUDIT_ARCH_ARM},
    {"SCMP_ARCH_S390X", "s390x", SCMP_ARCH_S390X, AUDIT_ARCH_S390X},
    {"SCMP_ARCH_S390", "s390", SCMP_ARCH_S390, AUDIT_ARCH_S390},
    {"SCMP_ARCH_RISCV64", "riscv64", SCMP_ARCH_RISCV64, AUDIT_ARCH_RISCV64},
};

/* Calls that are younger than the packaged libseccomp. From 424 on all architectures count alike.
 */
static const struct {
    const char *name;
    int number;
} young_calls[] = {
    {"memfd_secret", 447},      {"process_mrelease", 448},
    {"futex_waitv", 449},       {"set_mempolicy_home_node", 450},
    {"cachestat", 451},         {"fchmodat2", 452},
    {"map_shadow_stack", 453},  {"futex_wake", 454},
    {"futex_wait", 455},        {"futex_requeue", 456},
    {"statmount", 457},         {"listmount", 458},
    {"lsm_get_self_attr", 459}, {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},  {"mseal", 462},
    {"setxattrat", 463},        {"getxattrat", 464},
    {"listxattrat", 465},       {"removexattrat", 466},
    {"open_tree_attr", 467},    {"file_getattr", 468},
    {"file_setattr", 469},
};

/* i386 had these behind socketcall and ipc; libseccomp still speaks of them so. */
static const struct {
    const char *name;
    int number;
} i386_calls[] = {
    {"socket", 359},      {"socketpair", 360},  {"bind", 361},       {"connect", 362},
    {"listen", 363},      {"accept4", 364},     {"getsockopt", 365}, {"setsockopt", 366},
    {"getsockname", 367}, {"getpeername", 368}, {"sendto", 369},     {"sendmsg", 370},
    {"recvfrom", 371},    {"recvmsg", 372},     {"shutdown", 373},   {"semget", 393},
    {"semctl", 394},      {"shmget", 395},      {"shmctl", 396},     {"shmat", 397},
    {"shmdt", 398},       {"msgget", 399},      {"msgsnd", 400},     {"msgrcv", 401},
    {"msgctl", 402},
};

static const struct arch *native_arch(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(arches); i++)
        if (arches[i].scmp == seccomp_arch_native())
            return &arches[i];
    return NULL;
}

/* Number, or negative: not a call of this architecture. *ret_known: somebody knows the name. */
static int call_number(const struct arch *arch, const char *name, bool *ret_known)
{
    *ret_known = true;
    if (arch->scmp == SCMP_ARCH_X86)
        for (size_t i = 0; i < ARRAY_SIZE(i386_calls); i++)
            if (strcmp(i386_calls[i].name, name) == 0)
                return i386_calls[i].number;
    for (size_t i = 0; i < ARRAY_SIZE(young_calls); i++)
        if (strcmp(young_calls[i].name, name) == 0)
            return young_calls[i].number;
    if (strcmp(name, "uretprobe") == 0)
        return arch->scmp == SCMP_ARCH_X86_64 ? 335 : -1;
    int number = seccomp_syscall_resolve_name_arch(arch->scmp, name);
    *ret_known = number != __NR_SCMP_ERROR;
    return number;
}

/* ---- reading the profile */

struct profile {
    json_t *json;
    uint64_t caps;
    uint32_t default_action;
    int default_errno;
};

struct filter {
    const struct profile *profile;
    const struct arch *arch;
    struct rule *rules;
    size_t n_rules;
    int newest;
    struct sock_filter code[CODE_MAX];
    size_t n;
    bool full;
};

static int parse_action(const char *text, json_t *errno_json, int default_errno, uint32_t *ret,
                        struct berth_error *err)
{
    static const struct {
        const char *name;
        uint32_t action;
    } table[] = {
        {"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW},
        {"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO},
        {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD},
        {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD},
        {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS},
        {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP},
        {"SCMP_ACT_LOG", SECCOMP_RET_LOG},
        {"SCMP_ACT_TRACE", SECCOMP_RET_TRACE},
    };
    int number = json_is_integer(errno_json) ? (int)json_integer_value(errno_json) : default_errno;
    for (size_t i = 0; text && i < ARRAY_SIZE(table); i++)
        if (strcmp(text, table[i].name) == 0) {
            bool carries =
                table[i].action == SECCOMP_RET_ERRNO || table[i].action == SECCOMP_RET_TRACE;
            if (number < 0 || number > 4095)
                return fail(err, BERTH_INVALID, "errnoRet",
                            "seccomp profile: errnoRet %d is out of range", number);
            *ret = table[i].action | (carries ? (uint32_t)number : 0);
            return 0;
        }
    return fail(err, BERTH_INVALID, "action", "seccomp profile: action \"%s\" is %s",
                text ? text : "",
                text && strcmp(text, "SCMP_ACT_NOTIFY") == 0 ? "not supported (it needs a listener)"
                                                             : "unknown");
}

static int parse_condition(json_t *json, struct condition *ret, struct berth_error *err)
{
    static const char *const names[OP_COUNT] = {
        [OP_NE] = "SCMP_CMP_NE",
        [OP_LT] = "SCMP_CMP_LT",
        [OP_LE] = "SCMP_CMP_LE",
        [OP_EQ] = "SCMP_CMP_EQ",
        [OP_GE] = "SCMP_CMP_GE",
        [OP_GT] = "SCMP_CMP_GT",
        [OP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ",
    };
    json_t *index = json_object_get(json, "index"), *value = json_object_get(json, "value");
    const char *op = json_string_value(json_object_get(json, "op"));
    if (!json_is_integer(index) || json_integer_value(index) < 0 || json_integer_value(index) > 5)
        return fail(err, BERTH_INVALID, "args",
                    "seccomp profile: an argument's index is not 0 to 5");
    *ret = (struct condition){.index = (unsigned)json_integer_value(index),
                              .op = -1,
                              .value = (uint64_t)json_integer_value(value),
                              .masked =
                                  (uint64_t)json_integer_value(json_object_get(json, "valueTwo"))};
    for (int i = 0; op && i < OP_COUNT; i++)
        ret->op = strcmp(op, names[i]) == 0 ? i : ret->op;
    return ret->op < 0 ? fail(err, BERTH_INVALID, "args",
                              "seccomp profile: operator \"%s\" is unknown", op ? op : "")
                       : 0;
}

static bool json_lists(json_t *list, const char *word)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item)
        if (json_is_string(item) && strcmp(json_string_value(item), word) == 0)
            return true;
    return false;
}

static bool caps_match(json_t *list, uint64_t caps, bool all)
{
    size_t i, hits = 0;
    json_t *item;
    json_array_foreach (list, i, item) {
        uint64_t mask = 0;
        const char *name = json_string_value(item);
        hits += name && capability_parse(name, &mask) == 0 && mask && (caps & mask) == mask;
    }
    return all ? hits == json_array_size(list) : hits > 0;
}

static bool kernel_at_least(const char *version)
{
    struct utsname name;
    int want[2] = {0, 0}, have[2] = {0, 0};
    if (!version || sscanf(version, "%d.%d", &want[0], &want[1]) < 1 || uname(&name) < 0 ||
        sscanf(name.release, "%d.%d", &have[0], &have[1]) < 1)
        return true;
    return have[0] > want[0] || (have[0] == want[0] && have[1] >= want[1]);
}

/* Docker's conditions on a rule: the machine's architecture, not the one that the filter is made
 * for. */
static bool rule_applies(const struct profile *p, json_t *rule)
{
    json_t *in = json_object_get(rule, "includes"), *out = json_object_get(rule, "excludes");
    const struct arch *native = native_arch();
    const char *go = native ? native->go : "";
    json_t *in_arches = json_object_get(in, "arches"), *in_caps = json_object_get(in, "caps");
    if (json_array_size(in_arches) && !json_lists(in_arches, go))
        return false;
    if (json_array_size(in_caps) && !caps_match(in_caps, p->caps, true))
        return false;
    if (!kernel_at_least(json_string_value(json_object_get(in, "minKernel"))))
        return false;
    const char *too_new = json_string_value(json_object_get(out, "minKernel"));
    return !json_lists(json_object_get(out, "arches"), go) &&
           !caps_match(json_object_get(out, "caps"), p->caps, false) &&
           !(too_new && kernel_at_least(too_new));
}

/* ---- rules of one architecture */

static int add_rule(struct filter *f, int number, uint32_t action, const struct condition *c,
                    size_t n, struct berth_error *err)
{
    if (f->n_rules == RULES_MAX)
        return fail(err, BERTH_TOO_BIG, "syscalls", "seccomp profile: more than %d rules",
                    RULES_MAX);
    struct rule *r = &f->rules[f->n_rules++];
    *r = (struct rule){.number = number, .action = action, .n = n};
    memcpy(r->conditions, c, n * sizeof(*c));
    return 0;
}

/* Several conditions on one argument can't hold at once: docker reads them as alternatives. */
static bool same_argument_twice(const struct condition *c, size_t n)
{
    unsigned seen = 0;
    for (size_t i = 0; i < n; i++) {
        if (seen & 1u << c[i].index)
            return true;
        seen |= 1u << c[i].index;
    }
    return false;
}

static int add_call(struct filter *f, const char *name, uint32_t action, bool applies,
                    const struct condition *c, size_t n, struct berth_error *err)
{
    bool known, alternatives = same_argument_twice(c, n);
    int number = call_number(f->arch, name, &known);
    /* An allowance for a call that nobody knows allows nothing; a prohibition that does not hold is
     * a hole. */
    if (!known && applies && action != SECCOMP_RET_ALLOW &&
        f->profile->default_action == SECCOMP_RET_ALLOW)
        return fail(err, BERTH_INVALID, name, "seccomp profile: system call \"%s\" is unknown",
                    name);
    if (number < 0 || number >= NUMBER_MAX)
        return 0;
    f->newest = MAX(f->newest, number);
    int r = 0;
    if (applies && !alternatives)
        r = add_rule(f, number, action, c, n, err);
    for (size_t i = 0; applies && alternatives && r == 0 && i < n; i++)
        r = add_rule(f, number, action, &c[i], 1, err);
    return r;
}

static int read_rule(struct filter *f, json_t *json, struct berth_error *err)
{
    struct condition c[CONDITIONS_MAX];
    uint32_t action;
    size_t i, n = 0;
    json_t *item, *args = json_object_get(json, "args"), *names = json_object_get(json, "names");
    int r =
        parse_action(json_string_value(json_object_get(json, "action")),
                     json_object_get(json, "errnoRet"), f->profile->default_errno, &action, err);
    if (json_array_size(args) > CONDITIONS_MAX)
        return fail(err, BERTH_INVALID, "args",
                    "seccomp profile: a rule has more than %d arguments", CONDITIONS_MAX);
    json_array_foreach (args, i, item)
        r = r < 0 ? r : parse_condition(item, &c[n++], err);
    bool applies = rule_applies(f->profile, json);
    const char *one = json_string_value(json_object_get(json, "name"));
    if (r == 0 && one)
        r = add_call(f, one, action, applies, c, n, err);
    json_array_foreach (names, i, item) {
        if (r == 0 && !json_is_string(item))
            r = fail(err, BERTH_INVALID, "names",
                     "seccomp profile: a system call's name is not a string");
        r = r < 0 ? r : add_call(f, json_string_value(item), action, applies, c, n, err);
    }
    return r;
}

/* The kernel's own order: the smaller, as a signed number, the stricter. */
static int compare_rules(const void *a, const void *b)
{
    const struct rule *x = a, *y = b;
    if (x->number != y->number)
        return x->number - y->number;
    if ((x->n == 0) != (y->n == 0))
        return x->n == 0 ? 1 : -1;
    int32_t s = (int32_t)(x->action & 0xffff0000u), t = (int32_t)(y->action & 0xffff0000u);
    if (s != t)
        return s < t ? -1 : 1;
    return x < y ? -1 : x > y; /* as written */
}

/* ---- code */

static void emit(struct filter *f, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
    if (f->n == CODE_MAX)
        f->full = true;
    else
        f->code[f->n++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

static void emit_return(struct filter *f, uint32_t action)
{
    emit(f, BPF_RET | BPF_K, 0, 0, action);
}

static void emit_load(struct filter *f, unsigned offset)
{
    emit(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

#define NOWHERE 255 /* a jump to be set when the end of the rule is known */

static void emit_jump(struct filter *f, uint16_t op, uint32_t k, uint8_t yes, uint8_t no)
{
    emit(f, BPF_JMP | op | BPF_K, yes, no, k);
}

/* Falls through when it holds; jumps NOWHERE when not. */
static void emit_condition(struct filter *f, const struct condition *c)
{
    uint32_t high = (uint32_t)(c->value >> 32), low = (uint32_t)c->value;
    unsigned at = DATA_ARG(c->index);
    switch (c->op) {
    case OP_EQ:
        emit_load(f, at + HIGH);
        emit_jump(f, BPF_JEQ, high, 0, NOWHERE);
        emit_load(f, at + LOW);
        emit_jump(f, BPF_JEQ, low, 0, NOWHERE);
        break;
    case OP_NE:
        emit_load(f, at + HIGH);
        emit_jump(f, BPF_JEQ, high, 0, 2);
        emit_load(f, at + LOW);
        emit_jump(f, BPF_JEQ, low, NOWHERE, 0);
        break;
    case OP_GT:
    case OP_GE:
        emit_load(f, at + HIGH);
        emit_jump(f, BPF_JGT, high, 3, 0);
        emit_jump(f, BPF_JEQ, high, 0, NOWHERE);
        emit_load(f, at + LOW);
        emit_jump(f, c->op == OP_GT ? BPF_JGT : BPF_JGE, low, 0, NOWHERE);
        break;
    case OP_LT:
    case OP_LE:
        emit_load(f, at + HIGH);
        emit_jump(f, BPF_JGT, high, NOWHERE, 0);
        emit_jump(f, BPF_JEQ, high, 0, 2);
        emit_load(f, at + LOW);
        emit_jump(f, c->op == OP_LE ? BPF_JGT : BPF_JGE, low, NOWHERE, 0);
        break;
    case OP_MASKED_EQ:
        emit_load(f, at + HIGH);
        emit(f, BPF_ALU | BPF_AND | BPF_K, 0, 0, high);
        emit_jump(f, BPF_JEQ, (uint32_t)(c->masked >> 32), 0, NOWHERE);
        emit_load(f, at + LOW);
        emit(f, BPF_ALU | BPF_AND | BPF_K, 0, 0, low);
        emit_jump(f, BPF_JEQ, (uint32_t)c->masked, 0, NOWHERE);
        break;
    }
}

static void set_jumps(struct filter *f, size_t from)
{
    for (size_t i = from; i < f->n; i++) {
        if (BPF_CLASS(f->code[i].code) != BPF_JMP)
            continue;
        uint8_t distance = (uint8_t)MIN(f->n - i - 1, (size_t)NOWHERE - 1);
        if (f->code[i].jt == NOWHERE)
            f->code[i].jt = distance;
        if (f->code[i].jf == NOWHERE)
            f->code[i].jf = distance;
    }
}

static bool plain_equal(const struct rule *r)
{
    return r->n == 1 && r->conditions[0].op == OP_EQ && r->conditions[0].value <= UINT32_MAX;
}

/* How many rules from here on compare one argument with small numbers and do the same about it. */
static size_t equal_run(const struct rule *rules, size_t n)
{
    size_t i = 0;
    while (i < n && i < 100 && plain_equal(&rules[i]) && rules[i].action == rules[0].action &&
           rules[i].conditions[0].index == rules[0].conditions[0].index)
        i++;
    return i;
}

static void emit_equal_run(struct filter *f, const struct rule *rules, size_t n)
{
    unsigned at = DATA_ARG(rules[0].conditions[0].index);
    emit_load(f, at + HIGH);
    emit_jump(f, BPF_JEQ, 0, 0, (uint8_t)(n + 2));
    emit_load(f, at + LOW);
    for (size_t i = 0; i < n; i++)
        emit_jump(f, BPF_JEQ, (uint32_t)rules[i].conditions[0].value, (uint8_t)(n - 1 - i),
                  i + 1 == n ? 1 : 0);
    emit_return(f, rules[0].action);
}

static void emit_leaf(struct filter *f, const struct rule *rules, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (rules[i].n == 0) {
            emit_return(f, rules[i].action);
            return;
        }
        size_t run = equal_run(rules + i, n - i), from = f->n;
        if (run > 1) {
            emit_equal_run(f, rules + i, run);
            i += run;
            continue;
        }
        for (size_t c = 0; c < rules[i].n; c++)
            emit_condition(f, &rules[i].conditions[c]);
        emit_return(f, rules[i].action);
        set_jumps(f, from);
        i++;
    }
    emit_return(f, f->profile->default_action);
}

/* Numbers from `first` on share these rules (n 0: an action alone). */
struct range {
    uint32_t first, action;
    const struct rule *rules;
    size_t n;
};

static bool is_plain(const struct rule *rules, size_t n)
{
    return n == 0 || rules[0].n == 0;
}

static size_t make_ranges(const struct filter *f, struct range *ranges)
{
    size_t n = 0, at = 0;
    for (int number = 0; number <= f->newest; number++) {
        size_t count = 0;
        while (at + count < f->n_rules && f->rules[at + count].number == number)
            count++;
        const struct rule *rules = f->rules + at;
        at += count;
        struct range r = {.first = (uint32_t)number,
                          .action = count ? rules[0].action : f->profile->default_action};
        if (!is_plain(rules, count)) {
            r.rules = rules;
            r.n = count;
        }
        if (n == 0 || r.n || ranges[n - 1].n || ranges[n - 1].action != r.action)
            ranges[n++] = r;
    }
    ranges[n++] = (struct range){.first = (uint32_t)f->newest + 1,
                                 .action = f->profile->default_action == SECCOMP_RET_ALLOW
                                               ? SECCOMP_RET_ALLOW
                                               : SECCOMP_RET_ERRNO | ENOSYS};
    return n;
}

static void emit_tree(struct filter *f, const struct range *ranges, size_t n)
{
    if (n == 1) {
        if (ranges->n)
            emit_leaf(f, ranges->rules, ranges->n);
        else
            emit_return(f, ranges->action);
        return;
    }
    size_t half = n / 2, at = f->n;
    emit_jump(f, BPF_JGE, ranges[half].first, 0, 0);
    emit_tree(f, ranges, half);
    size_t distance = f->n - at - 1;
    if (distance < NOWHERE || f->full) {
        f->code[at].jt = (uint8_t)distance;
    } else {
        /* Too far for a conditional jump: it skips over one that goes everywhere. */
        if (f->n == CODE_MAX) {
            f->full = true;
            return;
        }
        memmove(&f->code[at + 2], &f->code[at + 1], distance * sizeof(f->code[0]));
        f->n++;
        f->code[at].jf = 1;
        f->code[at + 1] = (struct sock_filter){.code = BPF_JMP | BPF_JA, .k = (uint32_t)distance};
    }
    emit_tree(f, ranges + half, n - half);
}

static int emit_arch(struct filter *f, struct berth_error *err)
{
    struct range ranges[NUMBER_MAX + 1];
    json_t *rule;
    size_t i;
    f->n_rules = 0;
    f->newest = -1;
    json_array_foreach (json_object_get(f->profile->json, "syscalls"), i, rule) {
        int r = read_rule(f, rule, err);
        if (r < 0)
            return r;
    }
    qsort(f->rules, f->n_rules, sizeof(*f->rules), compare_rules);
    emit_load(f, DATA_NR);
    if (f->arch->scmp ==
        SCMP_ARCH_X86_64) { /* x32: the same calls under other numbers, and in nobody's use */
        emit_jump(f, BPF_JGE, X32_BIT, 0, 1);
        emit_return(f, SECCOMP_RET_ERRNO | ENOSYS);
    }
    emit_tree(f, ranges, make_ranges(f, ranges));
    return 0;
}

/* ---- all architectures */

static const struct arch *arch_named(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_SIZE(arches); i++)
        if (strcmp(arches[i].name, name) == 0)
            return &arches[i];
    return NULL;
}

static size_t add_arch(const struct arch **list, size_t n, const struct arch *arch)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == arch)
            return n;
    if (arch && n < ARRAY_SIZE(arches))
        list[n++] = arch;
    return n;
}

static size_t wanted_arches(json_t *json, const struct arch *native, const struct arch **ret)
{
    size_t n = add_arch(ret, 0, native), i, k;
    json_t *entry, *sub;
    json_array_foreach (json_object_get(json, "archMap"), i, entry) {
        if (arch_named(json_string_value(json_object_get(entry, "architecture"))) != native)
            continue;
        json_array_foreach (json_object_get(entry, "subArchitectures"), k, sub)
            n = add_arch(ret, n, arch_named(json_string_value(sub)));
    }
    json_array_foreach (json_object_get(json, "architectures"), i, entry)
        n = add_arch(ret, n, arch_named(json_string_value(entry)));
    return n;
}

static int compile(struct filter *f, const struct arch *const *list, size_t n,
                   struct berth_error *err)
{
    for (size_t i = 0; i < n; i++) {
        f->arch = list[i];
        emit_load(f, DATA_ARCH);
        emit_jump(f, BPF_JEQ, f->arch->audit, 1, 0);
        size_t past = f->n;
        emit(f, BPF_JMP | BPF_JA, 0, 0, 0);
        int r = emit_arch(f, err);
        if (r < 0)
            return r;
        f->code[past].k = (uint32_t)(f->n - past - 1);
    }
    emit_return(f, SECCOMP_RET_KILL_PROCESS);
    return f->full ? fail(err, BERTH_TOO_BIG, "seccomp",
                          "seccomp profile: it needs more than %d instructions", CODE_MAX)
                   : 0;
}

static int read_head(const char *text, size_t length, struct profile *p, struct berth_error *err)
{
    json_error_t error;
    p->json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!p->json)
        return fail(err, BERTH_INVALID, "seccomp", "seccomp profile: line %d: %s", error.line,
                    error.text);
    if (!json_is_object(p->json) || !json_is_array(json_object_get(p->json, "syscalls")))
        return fail(err, BERTH_INVALID, "seccomp", "seccomp profile: it has no list \"syscalls\"");
    json_t *number = json_object_get(p->json, "defaultErrnoRet");
    p->default_errno = json_is_integer(number) ? (int)json_integer_value(number) : EPERM;
    return parse_action(json_string_value(json_object_get(p->json, "defaultAction")), number, EPERM,
                        &p->default_action, err);
}

int seccomp_compile(const char *profile_json, size_t length, uint64_t caps, void **ret_filter,
                    size_t *ret_size, struct berth_error *err)
{
    struct profile p = {.caps = caps};
    const struct arch *list[ARRAY_SIZE(arches)];
    const struct arch *native = native_arch();
    if (!native)
        return fail(err, BERTH_NO_KERNEL, "seccomp",
                    "seccomp: this architecture is not known; use unconfined");
    int r = read_head(profile_json, length, &p, err);
    struct filter *f = calloc(1, sizeof(*f));
    struct rule *rules = calloc(RULES_MAX, sizeof(*rules));
    if (r == 0 && (!f || !rules))
        r = fail_memory(err);
    if (r == 0) {
        f->profile = &p;
        f->rules = rules;
        r = compile(f, list, wanted_arches(p.json, native, list), err);
    }
    if (r == 0) {
        *ret_size = f->n * sizeof(f->code[0]);
        *ret_filter = malloc(*ret_size);
        if (*ret_filter)
            memcpy(*ret_filter, f->code, *ret_size);
        else
            r = fail_memory(err);
    }
    free(rules);
    free(f);
    json_decref(p.json);
    return r;
}
