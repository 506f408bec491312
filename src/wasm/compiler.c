/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-wasmc: one compilation. The module is anybody's, so the process limits its memory and time and gives up
 * every file and the network before it reads a byte of it. What it may is in wasm/worker.h.
 */
#include "base/base.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/allow.h"
#include "wasm/berth_wasm.h"
#include "wasm/options.h"
#include "wasm/worker.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define DEFAULT_MEMORY (2ull << 30)
#define DEFAULT_SECONDS 300

struct request {
    const char *profile;
    uint64_t in, out, meta, error, memory, seconds;
    bool fuel;
};

static const struct option_row rows[] = {
    {"profile", OPTION_TEXT, offsetof(struct request, profile)}, {"in", OPTION_NUMBER, offsetof(struct request, in)},
    {"out", OPTION_NUMBER, offsetof(struct request, out)},       {"meta", OPTION_NUMBER, offsetof(struct request, meta)},
    {"error", OPTION_NUMBER, offsetof(struct request, error)},   {"memory", OPTION_NUMBER, offsetof(struct request, memory)},
    {"time", OPTION_NUMBER, offsetof(struct request, seconds)},  {"fuel", OPTION_FLAG, offsetof(struct request, fuel)},
};

/* What an allocator, threads and writing to two open files take. */
static const int allowed[] = {
    SYS_read, SYS_pread64, SYS_write, SYS_writev, SYS_close, SYS_fstat, SYS_lseek, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect,
    SYS_madvise, SYS_brk, SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_sigaltstack, SYS_sched_getaffinity, SYS_sched_yield, SYS_getrandom, SYS_clock_gettime,
    SYS_clock_nanosleep, SYS_nanosleep, SYS_gettid, SYS_getpid, SYS_tgkill, SYS_exit, SYS_exit_group, SYS_prctl, SYS_restart_syscall,
    SYS_getrlimit, SYS_prlimit64, SYS_membarrier, SYS_poll, SYS_ppoll,
};

static int settle_limits(const struct request *q, struct berth_error *err)
{
    const struct { int resource; uint64_t value; } limits[] = {
        {RLIMIT_CORE, 0}, {RLIMIT_AS, q->memory}, {RLIMIT_CPU, q->seconds}, {RLIMIT_FSIZE, 4ull << 30},
    };
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &(struct rlimit){limits[i].value, limits[i].value}) < 0)
            return fail_os(err, errno, NULL, "limit the compiler");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail_os(err, errno, NULL, "limit the compiler");
    int r = WITH_SANITIZER ? 0 : allow_calls(allowed, ARRAY_SIZE(allowed), NULL, 0);
    return r < 0 ? fail_os(err, r, NULL, "limit the compiler's system calls") : 0;
}

static int map_module(int fd, const void **ret, size_t *ret_length, struct berth_error *err)
{
    struct stat s;
    if (fstat(fd, &s) < 0)
        return fail_os(err, errno, "module", "read the module");
    if (!S_ISREG(s.st_mode))
        return fail(err, BERTH_INVALID, "module", "the module is no regular file");
    if ((uint64_t)s.st_size > WASM_MODULE_MAX_BYTES)
        return fail(err, BERTH_TOO_BIG, "module", "the module has %lld bytes, more than %llu", (long long)s.st_size,
                    WASM_MODULE_MAX_BYTES);
    void *p = s.st_size ? mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : (void *)"";
    if (p == MAP_FAILED)
        return fail_os(err, errno, "module", "read the module");
    *ret = p;
    *ret_length = (size_t)s.st_size;
    return 0;
}

static int read_profile(const struct request *q, struct berth_wasm_settings *ret, struct berth_error *err)
{
    uint32_t profile = q->profile && strcmp(q->profile, "serve") == 0     ? BERTH_WASM_SERVE
                       : q->profile && strcmp(q->profile, "command") == 0 ? BERTH_WASM_COMMAND
                                                                          : 0;
    if (!profile)
        return fail(err, BERTH_INVALID, "profile", "--profile is command or serve");
    *ret = (struct berth_wasm_settings){.size = sizeof(*ret), .profile = profile, .fuel = q->fuel};
    return 0;
}

static int print_tag(const struct berth_wasm_settings *settings, struct berth_error *err)
{
    char tag[256];
    int r = berth_wasm_tag(settings, tag, sizeof(tag), err);
    if (r == 0 && (puts(tag) < 0 || fflush(stdout) != 0))
        r = fail_os(err, errno, NULL, "write");
    return r;
}

/* What the engine can't tell apart from rubbish, in words. */
static int check_head(const unsigned char *wasm, size_t length, struct berth_error *err)
{
    static const unsigned char core[] = {1, 0, 0, 0}, component[] = {0x0d, 0, 1, 0};
    if (length < 4 || memcmp(wasm, "\0asm", 4) != 0)
        return utf8_valid((const char *)wasm, length)
                   ? 0 : fail(err, BERTH_INVALID, "module", "not a WebAssembly module: neither binary nor text format");
    if (length < 8)
        return fail(err, BERTH_INVALID, "module", "not a WebAssembly module: cut off in its first eight bytes");
    if (memcmp(wasm + 4, core, 4) != 0 && memcmp(wasm + 4, component, 4) != 0)
        return fail(err, BERTH_UNSUPPORTED, "module", "a module of version %02x%02x%02x%02x, which nothing here can read", wasm[4],
                    wasm[5], wasm[6], wasm[7]);
    return 0;
}

/* An interface of preview 3 that the bytes name is one word in place of a riddle about a feature. */
static int explain(const char *wasm, size_t length, struct berth_error *err)
{
    static const char version[] = "@0.3.";
    char name[100];
    for (const char *at = wasm; (at = memmem(at, length - (size_t)(at - wasm), "wasi:", 5)); at += 5) {
        size_t n = 0, room = MIN(length - (size_t)(at - wasm), sizeof(name) - 1);
        while (n < room && at[n] > ' ' && at[n] < 0x7f)
            n++;
        const char *minor = memmem(at, n, version, sizeof(version) - 1);
        if (!minor)
            continue;
        size_t end = (size_t)(minor - at) + sizeof(version) - 1;
        while (end < n && at[end] >= '0' && at[end] <= '9')
            end++;
        snprintf(name, sizeof(name), "%.*s", (int)end, at);
        return fail(err, BERTH_UNSUPPORTED, name, "%s: preview 3 is not supported", name);
    }
    return BERTH_INVALID;
}

static int compile(const struct request *q, const struct berth_wasm_settings *settings, struct berth_error *err)
{
    const void *wasm = NULL;
    size_t length = 0;
    int r = map_module((int)q->in, &wasm, &length, err);
    r = r < 0 ? r : settle_limits(q, err);
    r = r < 0 ? r : check_head(wasm, length, err);
    if (r < 0)
        return r;
    r = berth_wasm_compile(settings, wasm, length, (int)q->out, (int)(int64_t)q->meta, err);
    return r == BERTH_INVALID ? explain(wasm, length, err) : r;
}

int main(int argc, char **argv)
{
    const uint64_t none = (uint64_t)-1;
    struct request q = {.in = 0, .out = 1, .meta = none, .error = none, .memory = DEFAULT_MEMORY, .seconds = DEFAULT_SECONDS};
    struct berth_wasm_settings settings;
    struct berth_error err = {0};
    int rest = 0;
    const char *verb = argc > 1 ? argv[1] : "";
    int r = strcmp(verb, "tag") == 0 || strcmp(verb, "compile") == 0
                ? options_read(argc, argv, 2, rows, ARRAY_SIZE(rows), &q, &rest, &err)
                : fail(&err, BERTH_INVALID, verb, "what is \"%.40s\"? There are tag and compile", verb);
    r = r < 0 ? r : read_profile(&q, &settings, &err);
    if (r == 0)
        r = *verb == 't' ? print_tag(&settings, &err) : compile(&q, &settings, &err);
    if (q.error != none)
        (void)fd_write_all((int)q.error, &err, sizeof(err)); /* also that there is none: nobody sees an exit code */
    if (r == 0)
        return 0;
    (void)fd_write_all(2, "berth-wasmc: ", 13);
    (void)fd_write_all(2, err.message, strlen(err.message));
    (void)fd_write_all(2, "\n", 1);
    return 1;
}
