/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a workload may open or make: a BPF program on v2, the devices controller on v1.
 *
 * The program is a list of rules, each a few compares and "return 1"; behind the last is "return
 * 0".
 */
#include "linux/device.h"

#include "base/base.h"
#include "linux/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define RULE_INSTRUCTIONS 10

static long bpf(int command, union bpf_attr *attr)
{
    return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

struct program {
    struct bpf_insn *code;
    size_t n;
};

static void add(struct program *p, uint8_t code, uint8_t to, uint8_t from, int16_t jump,
                int32_t value)
{
    p->code[p->n++] =
        (struct bpf_insn){.code = code, .dst_reg = to, .src_reg = from, .off = jump, .imm = value};
}

static uint32_t access_bits(const char *access)
{
    uint32_t bits = 0;
    for (; access && *access; access++)
        bits |= *access == 'r'   ? BPF_DEVCG_ACC_READ
                : *access == 'w' ? BPF_DEVCG_ACC_WRITE
                : *access == 'm' ? BPF_DEVCG_ACC_MKNOD
                                 : 0;
    return bits ? bits : BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
}

/* r2: type, r3: access, r4: major, r5: minor. A compare that fails jumps behind the rule. */
static void add_rule(struct program *p, const struct plan_device *d)
{
    size_t jumps[4], n_jumps = 0;
    uint32_t denied = ~access_bits(d->access) & 7;
    if (d->type != 'a') {
        jumps[n_jumps++] = p->n;
        add(p, BPF_JMP | BPF_JNE | BPF_K, 2, 0, 0,
            d->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    }
    if (denied) {
        jumps[n_jumps++] = p->n;
        add(p, BPF_JMP | BPF_JSET | BPF_K, 3, 0, 0, (int32_t)denied);
    }
    if (d->type != 'a' && d->major != UINT32_MAX) {
        jumps[n_jumps++] = p->n;
        add(p, BPF_JMP | BPF_JNE | BPF_K, 4, 0, 0, (int32_t)d->major);
    }
    if (d->type != 'a' && d->minor != UINT32_MAX) {
        jumps[n_jumps++] = p->n;
        add(p, BPF_JMP | BPF_JNE | BPF_K, 5, 0, 0, (int32_t)d->minor);
    }
    add(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
    add(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    for (size_t i = 0; i < n_jumps; i++)
        p->code[jumps[i]].off = (int16_t)(p->n - jumps[i] - 1);
}

static void add_head(struct program *p)
{
    const int access = offsetof(struct bpf_cgroup_dev_ctx, access_type);
    add(p, BPF_LDX | BPF_MEM | BPF_W, 2, 1, access, 0);
    add(p, BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
    add(p, BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
    add(p, BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16);
    add(p, BPF_LDX | BPF_MEM | BPF_W, 4, 1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
    add(p, BPF_LDX | BPF_MEM | BPF_W, 5, 1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

static int load(const struct plan_device *devices, size_t n)
{
    struct program p = {.code = calloc(n * RULE_INSTRUCTIONS + 8, sizeof(struct bpf_insn))};
    if (!p.code)
        return -ENOMEM;
    add_head(&p);
    for (size_t i = 0; i < n; i++)
        add_rule(&p, &devices[i]);
    add(&p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
    add(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                           .insns = (uintptr_t)p.code,
                           .insn_cnt = (uint32_t)p.n,
                           .license = (uintptr_t) "Apache-2.0"};
    long fd = bpf(BPF_PROG_LOAD, &attr);
    int r = fd < 0 ? -errno : (int)fd;
    free(p.code);
    return r;
}

int device_filter_attach(int cgroup_fd, const struct plan_device *devices, size_t n,
                         struct berth_error *err)
{
    if (n > DEVICE_RULE_MAX)
        return fail(err, BERTH_TOO_BIG, "devices", "devices: more than %d rules", DEVICE_RULE_MAX);
    autoclose int program_fd = load(devices, n);
    if (program_fd == -ENOSYS || program_fd == -EINVAL)
        return fail(err, BERTH_NO_KERNEL, "devices",
                    "devices: this kernel lacks device filters (CONFIG_CGROUP_BPF); "
                    "only a privileged workload can start without them");
    if (program_fd < 0)
        return fail_os(err, program_fd, "devices", "devices: load the device filter");
    /* BPF_PROG_ATTACH wants the folder itself, an O_PATH descriptor won't do. */
    autoclose int dir_fd = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    union bpf_attr attr = {.target_fd = (uint32_t)dir_fd,
                           .attach_bpf_fd = (uint32_t)program_fd,
                           .attach_type = BPF_CGROUP_DEVICE};
    if (dir_fd < 0 || bpf(BPF_PROG_ATTACH, &attr) < 0)
        return fail_os(err, errno, "devices", "devices: attach the device filter");
    return 0;
}

int device_filter_detach(int cgroup_fd)
{
    autoclose int dir_fd = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    union bpf_attr attr = {.target_fd = (uint32_t)dir_fd, .attach_type = BPF_CGROUP_DEVICE};
    return dir_fd >= 0 && bpf(BPF_PROG_DETACH, &attr) == 0 ? 0 : -errno;
}

/* ---- v1 */

static void print_rule(const struct plan_device *d, char *ret, size_t room)
{
    char major[16] = "*", minor[16] = "*";
    if (d->major != UINT32_MAX)
        snprintf(major, sizeof(major), "%u", d->major);
    if (d->minor != UINT32_MAX)
        snprintf(minor, sizeof(minor), "%u", d->minor);
    if (d->type == 'a')
        snprintf(ret, room, "a *:* rwm");
    else
        snprintf(ret, room, "%c %s:%s %s", d->type, major, minor,
                 d->access && *d->access ? d->access : "rwm");
}

static int devices_v1(const struct cgroup *g, const struct hierarchy *h,
                      const struct plan_device *devices, size_t n, bool privileged,
                      struct berth_error *err)
{
    char rule[64];
    int r = cgroup_set(g, h, privileged ? "devices.allow" : "devices.deny", "a");
    for (size_t i = 0; r == 0 && !privileged && i < n; i++) {
        print_rule(&devices[i], rule, sizeof(rule));
        r = cgroup_set(g, h, "devices.allow", rule);
        if (r < 0)
            return fail_os(err, r, "devices", "devices: allow \"%s\"", rule);
    }
    return r < 0 ? fail_os(err, r, "devices", "devices: set the rules of %s", g->path) : 0;
}

int cgroup_devices(struct cgroup *g, const struct plan_device *devices, size_t n, bool privileged,
                   struct berth_error *err)
{
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "devices");
    if (h && !h->v2)
        return devices_v1(g, h, devices, n, privileged, err);
    if (privileged) {
        (void)device_filter_detach(cgroup_v2_fd(g));
        return 0;
    }
    if (cgroup_v2_fd(g) < 0)
        return fail(err, BERTH_NO_KERNEL, "devices",
                    "devices: neither cgroup v2 nor the devices controller is there");
    return device_filter_attach(cgroup_v2_fd(g), devices, n, err);
}
