/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload being made: a folder aside that its maker holds locked, and one rename at the end.
 *
 * The folder says what was taken for it (its label, its leases) before anything is taken, so
 * whoever finds it unlocked can give all of it back.
 */
#include "store/internal.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "model/spec.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

struct store_draft {
    struct store *store;
    char id[BERTH_ID_TEXT], name[BERTH_NAME_MAX + 8];
    int fd; /* the folder, and the lock on it */
    char *path, *final_path;
};

/* ---- labels */

int label_write(int folder_fd, int64_t created_usec, const char *name)
{
    char text[BERTH_NAME_MAX + 40];
    snprintf(text, sizeof(text), "%lld/%s", (long long)created_usec, name);
    if (symlinkat(text, folder_fd, "name") == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    unlinkat(folder_fd, ".name", 0);
    if (symlinkat(text, folder_fd, ".name") < 0 ||
        renameat(folder_fd, ".name", folder_fd, "name") < 0)
        return -errno;
    return 0;
}

int label_read(int dir_fd, const char *at, int64_t *ret_created_usec,
               char ret_name[BERTH_NAME_MAX + 8])
{
    char text[BERTH_NAME_MAX + 40], *end;
    ssize_t n = readlinkat(dir_fd, at, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    text[n] = 0;
    long long created_usec = strtoll(text, &end, 10);
    if (*end != '/' || strlen(end + 1) > BERTH_NAME_MAX)
        return -EBADMSG;
    *ret_created_usec = created_usec;
    memcpy(ret_name, end + 1, strlen(end));
    return 0;
}

void label_of(struct store *store, const char *id, char ret_name[BERTH_NAME_MAX + 8])
{
    char path[ID_LENGTH + 8];
    int64_t created_usec;
    snprintf(path, sizeof(path), "%s/name", id);
    if (label_read(store->workloads_fd, path, &created_usec, ret_name) < 0)
        snprintf(ret_name, BERTH_NAME_MAX + 8, "%.12s", id);
}

/* ---- folders aside */

int aside_make(struct store *store, char ret_id[BERTH_ID_TEXT], int *ret_fd)
{
    for (int round = 0; round < 100; round++) {
        char id[BERTH_ID_TEXT];
        int r = id_make(id);
        if (r < 0)
            return r;
        if (mkdirat(store->aside_fd, id, 0700) < 0) {
            if (errno == EEXIST)
                continue;
            return -errno;
        }
        crash_point("create.folder");
        autoclose int fd = folder_lock_dead(store->aside_fd, id);
        if (fd == -EAGAIN || fd == -ENOENT)
            continue; /* a sweep came between: that folder is its to remove */
        if (fd < 0) {
            unlinkat(store->aside_fd, id, AT_REMOVEDIR);
            return fd;
        }
        memcpy(ret_id, id, BERTH_ID_TEXT);
        *ret_fd = take_fd(&fd);
        return 0;
    }
    return -EBUSY;
}

/* ---- names */

static const char *const adjectives[] = {
    "amber",  "brave",  "brisk",  "calm",   "clever", "bright", "deft",   "eager",
    "early",  "fair",   "fleet",  "fond",   "frank",  "gentle", "glad",   "golden",
    "grand",  "happy",  "hardy",  "honest", "humble", "jolly",  "keen",   "kind",
    "lively", "loyal",  "lucid",  "mellow", "merry",  "neat",   "nimble", "noble",
    "patient", "plucky", "polite", "proud", "quick",  "quiet",  "ready",  "silver",
    "sharp",  "steady", "sunny",  "swift",  "tidy",   "true",   "vivid",  "wise",
};
static const char *const nouns[] = {
    "anchor", "badger", "beacon", "bear",   "beaver", "buoy",   "canoe",  "captain",
    "clipper", "crane", "cutter", "dock",   "dolphin", "falcon", "ferry", "finch",
    "galley", "gull",   "harbor", "heron",  "jetty",  "kayak",  "keel",   "lantern",
    "lark",   "lynx",   "marten", "mole",   "osprey", "otter",  "owl",    "pier",
    "pilot",  "puffin", "quay",   "raven",  "rudder", "sailor", "seal",   "sextant",
    "skipper", "sloop", "sparrow", "stork", "swan",   "tern",   "tiller", "walrus",
};

static int make_name(int attempt, char ret_name[BERTH_NAME_MAX + 8])
{
    uint32_t random[2];
    if (RETRY(getrandom(random, sizeof(random), 0)) != sizeof(random))
        return -EIO;
    const char *adjective = adjectives[random[0] % ARRAY_SIZE(adjectives)];
    const char *noun = nouns[random[0] / ARRAY_SIZE(adjectives) % ARRAY_SIZE(nouns)];
    if (attempt < 4)
        snprintf(ret_name, BERTH_NAME_MAX, "%s_%s", adjective, noun);
    else
        snprintf(ret_name, BERTH_NAME_MAX, "%s_%s_%u", adjective, noun, random[1] % 100000);
    return 0;
}

/* The label first: it tells a sweep which name to give back. */
static int take_name(struct store_draft *draft, const char *name, char ret_holder[BERTH_ID_TEXT])
{
    int r = label_write(draft->fd, now_usec(), name);
    if (r < 0)
        return r;
    crash_point("create.labelled");
    r = claim_take(draft->store, "name", draft->store->names_fd, name, draft->id, ret_holder);
    if (r < 0)
        return r;
    crash_point("create.named");
    snprintf(draft->name, sizeof(draft->name), "%s", name);
    return 0;
}

static int take_given_name(struct store_draft *draft, const char *name, struct berth_error *err)
{
    char holder[BERTH_ID_TEXT] = "";
    int r = take_name(draft, name, holder);
    if (r == -EEXIST)
        return fail(err, BERTH_EXISTS, name, "the name \"%s\" is taken by workload %.12s", name,
                    holder);
    return r < 0 ? fail_os(err, r, name, "take the name \"%s\"", name) : 0;
}

static int take_made_name(struct store_draft *draft, struct berth_error *err)
{
    int r = -EEXIST;
    for (int attempt = 0; r == -EEXIST && attempt < 100; attempt++) {
        char name[BERTH_NAME_MAX + 8];
        r = make_name(attempt, name);
        if (r == 0)
            r = take_name(draft, name, NULL);
    }
    return r < 0 ? fail_os(err, r, NULL, "make a name") : 0;
}

/* ---- drafts */

static void draft_free(struct store_draft *draft)
{
    close_fd(&draft->fd);
    free(draft->path);
    free(draft->final_path);
    free(draft);
}

static int draft_fill(struct store_draft *draft, const char *name, struct berth_error *err)
{
    struct store *store = draft->store;
    int r = aside_make(store, draft->id, &draft->fd);
    if (r < 0)
        return fail_os(err, r, store->root, "make a folder in %s/aside", store->root);
    crash_point("create.locked");
    draft->path = format_text("%s/aside/%s", store->root, draft->id);
    draft->final_path = format_text("%s/workloads/%s", store->root, draft->id);
    if (!draft->path || !draft->final_path)
        return fail_memory(err);
    if (mkdirat(draft->fd, "log", 0700) < 0)
        return fail_os(err, errno, store->root, "make %s/log", draft->path);
    return name ? take_given_name(draft, name, err) : take_made_name(draft, err);
}

int store_draft_begin(struct store *store, const char *name, struct store_draft **ret_draft,
                      struct berth_error *err)
{
    int r = name ? name_check("workload", name, err) : 0;
    if (r < 0)
        return r;
    struct store_draft *draft = calloc(1, sizeof(*draft));
    if (!draft)
        return fail_memory(err);
    draft->store = store;
    draft->fd = -1;
    r = draft_fill(draft, name, err);
    if (r < 0) {
        store_draft_abandon(draft);
        return r;
    }
    *ret_draft = draft;
    return 0;
}

const char *store_draft_id(const struct store_draft *draft)
{
    return draft->id;
}

const char *store_draft_name(const struct store_draft *draft)
{
    return draft->name;
}

int store_draft_fd(const struct store_draft *draft)
{
    return draft->fd;
}

const char *store_draft_path(const struct store_draft *draft)
{
    return draft->path;
}

const char *store_draft_final_path(const struct store_draft *draft)
{
    return draft->final_path;
}

int store_draft_commit(struct store_draft *draft, struct berth_error *err)
{
    struct store *store = draft->store;
    crash_point("create.committing");
    if (renameat2(store->aside_fd, draft->id, store->workloads_fd, draft->id, RENAME_NOREPLACE) < 0) {
        int r = fail_os(err, errno, draft->name, "put \"%s\" in place", draft->name);
        store_draft_abandon(draft);
        return r;
    }
    crash_point("create.renamed");
    draft_free(draft);
    return 0;
}

/* Whatever fails here is left for the next sweep: the lock falls with the descriptor. */
void store_draft_abandon(struct store_draft *draft)
{
    if (!draft)
        return;
    if (draft->fd >= 0 && folder_release(draft->store, draft->id, draft->fd) >= 0)
        tree_remove(draft->store->aside_fd, draft->id);
    draft_free(draft);
}
