/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h: an engine of one's own over berth's machinery: how a spec becomes a process of this machine.
 *
 * Records, cgroup, limits, log, exec, attach, restarts, probes, events: all that a workload has beyond its command is
 * berth's, and the same as a container's, under the name of the engine; only the files are the host's own. So such an
 * engine is one function, which is asked once for each spec, and its workloads outlive whoever started them.
 *
 * A workload is confined as a container is: namespaces, capabilities, seccomp and devices as its spec says, a /proc,
 * /dev and /sys of its own over the host's, and no_new_privileges always. But its files are the machine's, to be read
 * and written as its user may: user and read_only are what protects them, and who runs as root and may write is root
 * of the machine. Nothing is made in the host's files: workdir and the targets of mounts must be there. Networks are
 * "host" and "none". What needs files of one's own is refused by name: image_volumes and mounts of images, secrets,
 * hosts, dns, platform, resources.devices, users of a namespace.
 */
#ifndef BERTH_PROCESS_H
#define BERTH_PROCESS_H

#include <berth/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What is to run. It begins as the spec has it, and is what the engine leaves there: strings are malloc'ed, lists
 * malloc'ed arrays with NULL at their end, and berth frees what it finds.
 */
struct berth_process {
    size_t size;
    const char *name;  /**< the workload's; only to be read */
    const char *image; /**< what the spec says there, for the engine to make sense of; NULL: nothing. Only to be read */
    char **argv;       /**< entrypoint, command and args in one; NULL: the spec names no program */
    char **env;        /**< "NAME=VALUE"; PATH, HOSTNAME, HOME and a terminal's TERM are added where they are missing */
    char *workdir;     /**< an absolute path of the host; NULL: "/" */
    char *user;        /**< "NAME", "UID", "NAME:GROUP", "UID:GID", of the host's /etc/passwd; NULL: root */
};

/** An engine, constant, for the life of the process. */
struct berth_process_engine {
    size_t size;         /**< sizeof(struct berth_process_engine) of the header it was built with */
    const char *name;    /**< as in struct berth_engine */
    const char *version; /**< of what `prepare` does: a start after it has changed asks again. NULL: it never does */
    /**
     * Make of a spec (in its normal form, as berth_spec_read gives it) what is to run. Asked by create, plan, update, and
     * by a start after an upgrade, from any thread: it makes nothing and waits for nothing. Negative, with a reason
     * (berth_error_set): the verb fails with it; UNSUPPORTED for a field that this engine alone does not do.
     */
    int (*prepare)(void *userdata, const char *spec_json, struct berth_process *process, struct berth_error *err);
    void *userdata;      /**< handed to prepare */
};

/**
 * Fill `ret_table` with the verbs of an engine over all this, to be registered (berth_register) or exported. `open` is
 * the engine's own, and calls berth_process_open. A table that was filled stays as it is. Returns `ret_table`; NULL
 * when an argument is. Any thread.
 */
BERTH_PUBLIC const struct berth_engine *berth_process_table(
    const struct berth_process_engine *engine,
    int (*open)(const struct berth_options *options, void **ret_self, struct berth_error *err),
    struct berth_engine *ret_table);

/** What the table's `open` does: with its options. INVALID: no name, no prepare; EXISTS: another has the name. */
BERTH_PUBLIC int berth_process_open(const struct berth_process_engine *engine, const struct berth_options *options,
                                    void **ret_self, struct berth_error *err);

/** In place of BERTH_ENGINE_EXPORT, for a shared object with such an engine: BERTH_PROCESS_EXPORT(engine); */
#define BERTH_PROCESS_EXPORT(engine)                                                                                   \
    static int berth_process_opens(const struct berth_options *options, void **ret_self, struct berth_error *err)      \
    {                                                                                                                  \
        return berth_process_open(&(engine), options, ret_self, err);                                                  \
    }                                                                                                                  \
    BERTH_ENGINE_LINKAGE const struct berth_engine *berth_engine_entry(uint32_t *ret_abi_version);                     \
    const struct berth_engine *berth_engine_entry(uint32_t *ret_abi_version)                                           \
    {                                                                                                                  \
        static struct berth_engine table;                                                                              \
        *ret_abi_version = BERTH_ABI_VERSION;                                                                          \
        return berth_process_table(&(engine), berth_process_opens, &table);                                            \
    }                                                                                                                  \
    BERTH_ENGINE_LINKAGE const struct berth_engine *berth_engine_entry(uint32_t *ret_abi_version)

#ifdef __cplusplus
}
#endif
#endif
