/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine of one's own: plain processes on the host's own files.
 *
 *     cc -shared -fPIC engine.c $(pkg-config --cflags --libs berth) -o plain.so
 *     berth-contract --load ./plain.so --engine plain --plain host --network host --unsupported engine.unsupported
 *
 * In the folder of others' engines, as plain.so, it is found by its name:
 *
 *     berth run --runtime plain --network host host uname -a
 *     berth run --runtime plain --network host -d --name shop --memory 256m --restart always /srv/shop
 *
 * Engines may do all by themselves (engine.h: a name and ten verbs). This one leaves records, cgroups, limits, logs,
 * restarts and the rest to berth (process.h), and only says how a spec becomes a command. Which words an image may be
 * is up to the engine: here it is "host", where the spec says all; or the folder of an application, which is where it
 * runs, as the user whom the folder belongs to, and whose program is ./run unless the spec names another.
 *
 * What of the contract it does not do is in engine.unsupported, a line a reason: above all, it has no images.
 */
#define _GNU_SOURCE
#include <berth/process.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HOST "host"
#define APP_VARIABLE "APP=" /* tells a program which folder is its own */

static int no_memory(struct berth_error *err)
{
    return berth_error_set(err, BERTH_NO_MEMORY, NULL, "out of memory");
}

/** Whose application it is. What everybody may write is nobody's, and the administrator's is not to be run by root. */
static int find_owner(const char *folder, struct stat *ret, struct berth_error *err)
{
    if (stat(folder, ret) < 0)
        return berth_error_set(err, errno == ENOENT ? BERTH_NOT_FOUND : BERTH_IO, folder, "image: %s: %s", folder, strerror(errno));
    if (!S_ISDIR(ret->st_mode))
        return berth_error_set(err, BERTH_INVALID, folder, "image: %s is no folder", folder);
    if (ret->st_mode & S_IWOTH)
        return berth_error_set(err, BERTH_DENIED, folder, "image: everybody may write %s", folder);
    if (ret->st_uid == 0)
        return berth_error_set(err, BERTH_DENIED, folder, "image: %s belongs to root; give it to a user of its own", folder);
    return 0;
}

/** One more at the end of a list of malloc'ed strings. */
static int add(char ***list, char *word)
{
    size_t n = 0;
    while (*list && (*list)[n])
        n++;
    char **longer = word ? realloc(*list, (n + 2) * sizeof(*longer)) : NULL;
    if (!longer) {
        free(word);
        return -1;
    }
    longer[n] = word;
    longer[n + 1] = NULL;
    *list = longer;
    return 0;
}

/** What the spec leaves open; `text` is malloc'ed, and freed when it is not needed. */
static int fill(char **slot, char *text)
{
    if (*slot)
        free(text);
    else
        *slot = text;
    return *slot ? 0 : -1;
}

static int prepare_application(struct berth_process *process, struct berth_error *err)
{
    struct stat owner;
    char user[32], *variable = NULL;
    int r = find_owner(process->image, &owner, err);
    if (r < 0)
        return r;
    if (process->user) /* else whoever may write the folder chooses a program, and the spec lends it root's rights */
        return berth_error_set(err, BERTH_UNSUPPORTED, "user", "user: an application runs as the owner of its folder");
    snprintf(user, sizeof(user), "%u:%u", owner.st_uid, owner.st_gid);
    if (asprintf(&variable, APP_VARIABLE "%s", process->image) < 0 || add(&process->env, variable) < 0 ||
        fill(&process->user, strdup(user)) < 0 || fill(&process->workdir, strdup(process->image)) < 0)
        return no_memory(err);
    return process->argv || add(&process->argv, strdup("./run")) == 0 ? 0 : no_memory(err);
}

/** The one thing that an engine over berth's machinery has to say. It only looks: create, and everything after it, is berth's. */
static int plain_prepare(void *userdata, const char *spec_json, struct berth_process *process, struct berth_error *err)
{
    (void)userdata;
    (void)spec_json; /* all other fields, for an engine that has something to say about them */
    if (!process->image || strcmp(process->image, HOST) == 0)
        return 0;
    if (process->image[0] == '/')
        return prepare_application(process, err);
    return berth_error_set(err, BERTH_UNSUPPORTED, "image", "image: \"%.80s\": this engine has \"host\" and folders of applications",
                           process->image);
}

static const struct berth_process_engine plain = {
    .size = sizeof(plain),
    .name = "plain",
    .version = "1",
    .prepare = plain_prepare,
};
BERTH_PROCESS_EXPORT(plain);
