/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be unsupported, and why: one table, a row per engine and reason.
 *
 * A row is checked both ways: what is in it must answer UNSUPPORTED, what is not in it must not. What somebody else's
 * daemon does in a way of its own is in a row too, and says so in the result.
 */
#include "harness.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

struct row {
    const char *engine;
    unsigned needs;   /* any of these, or */
    const char *glob; /* the case's name */
    const char *reason;
    bool differs;     /* it is supported, and done otherwise: it may fail, and may pass */
};

#define NO_DELAY "the API has a restart delay of its own"
#define NO_SIGNALS "a module hears no signal that it could ignore: it ends at the first"

static const struct row rows[] = {
    {"fake", NEEDS_PROGRAM, NULL, "it runs scripts, not programs"},
    {"fake", NEEDS_KERNEL, NULL, "it asks nothing of the kernel"},
    {"fake", NEEDS_PROCESS, NULL, "it lives in the memory of one process"},
    {"wasm", NEEDS_PROGRAM, NULL, "they are shell scripts, and a module starts no shell"},
    {"wasm", 0, "a_missing_program_of_the_path_fails_and_is_named", "a word without '/' is the module's own name"},
    {"wasm", 0, "stop_with_timeout_0_kills_at_once", NO_SIGNALS},
    {"wasm", 0, "stop_with_250_msec_takes_about_250_msec", NO_SIGNALS},
    {"wasm", 0, "stop_without_a_timeout_takes_the_specs", NO_SIGNALS},
    {"wasm", 0, "two_stops_at_once_both_succeed", NO_SIGNALS},
    {"wasm", 0, "a_second_stop_may_shorten_the_deadline", NO_SIGNALS},
    {"wasm", 0, "a_second_stop_never_lengthens_the_deadline", NO_SIGNALS},
    {"wasm", 0, "a_cancelled_stop_goes_on", NO_SIGNALS},
    {"wasm", 0, "a_forced_remove_ends_it", NO_SIGNALS},
    {"wasm", 0, "a_timeout_kills_only_the_exec", NO_SIGNALS},
    {"wasm", 0, "a_cancelled_exec_is_killed", NO_SIGNALS},
    {"wasm", 0, "an_exec_ends_with_its_workload", NO_SIGNALS},
    {"podman", 0, "a_death_by_memory_is_told", "podman does not tell it on cgroup v1", true},
    {"podman", 0, "a_childs_death_by_memory_is_told_apart", "podman does not tell it on cgroup v1", true},
    {"podman", 0, "health_*", "podman's checks are systemd's timers", true},
    {"podman", 0, "a_health_command_that_hangs_counts_as_a_failure", "podman's checks are systemd's timers", true},
    {"podman", 0, "frames_carry_stream_time_and_length", "podman's stamps are cut to the second", true},
    {"podman", 0, "since_and_until_are_exact_to_the_microsecond", "podman's stamps are cut to the second", true},
    {"podman", 0, "timestamps_are_rfc_3339_with_nanoseconds", "podman's stamps are cut to the second", true},
    {"docker", 0, "a_terminal_is_one_and_resizes", "the API sizes a terminal after its program has begun", true},
    {"podman", 0, "execs_are_listed_and_killed_by_id", "podman lists an exec that has ended", true},
    {"podman", 0, "a_limit_of_half_a_core_holds", "podman tells no throttling", true},
    {"docker", 0, "network_the_address_is_the_same_after_a_restart", "the daemon may give it to another meanwhile", true},
    {"docker", 0, "network_a_hundred_have_addresses_of_their_own", "a hundred starts may take the daemon longer than the case has", true},
    {"podman", 0, "the_environment_is_dockers", "podman sets TERM without a terminal", true},
    {"podman", 0, "dns_of_the_spec_is_in_resolv_conf", "podman makes no resolv.conf without a network", true},
    {"podman", 0, "ulimits_hold", "podman's defaults beside them are above what some machines allow", true},
    {"podman", 0, "an_init_*", "podman's init is in a package of its own", true},
    {"podman", 0, "namespaces_are_its_own_unless_shared", "podman's cgroups are the host's on cgroup v1", true},
    {"podman", 0, "network_counts_100_megabytes_sent", "podman counts from the other side", true},
    {"podman", 0, "many_execs_leave_nothing", "a thousand execs take podman longer than the case has", true},
    {"podman", 0, "every_verb_on_100_workloads_from_8_threads", "a hundred workloads take podman longer than the case has", true},
    {"podman", 0, "update_changes_the_limits_of_a_running_one", "podman's service updates nothing"},
    {"podman", 0, "update_changes_labels_and_restart", "podman's service updates nothing"},
    {"podman", 0, "masked_paths_of_the_spec_are_taken", "podman's service takes them and does nothing"},
    {"docker", 0, "a_killed_supervisor_*", "it has no supervisor of its own"},
    {"docker", 0, "stop_leaves_no_process", "it has no supervisor of its own"},
    {"docker", 0, "a_stopped_one_is_not_restarted", NO_DELAY},
    {"docker", 0, "stop_ends_one_that_waits_for_its_restart", NO_DELAY},
    {"docker", 0, "the_kill_signal_counts_as_a_stop", NO_DELAY},
    {"docker", 0, "on_failure_*", NO_DELAY},
    {"docker", 0, "always_restarts_a_success", NO_DELAY},
    {"docker", 0, "unless_stopped_restarts_too", NO_DELAY},
    {"docker", 0, "restarting_tells_when_it_starts_next", NO_DELAY},
    {"docker", 0, "the_delay_doubles_up_to_its_cap", NO_DELAY},
    {"docker", 0, "a_start_by_a_caller_counts_restarts_anew", NO_DELAY},
    {"docker", 0, "liveness_restarts_what_hangs", NO_DELAY},
    {"docker", 0, "follow_goes_on_over_policy_restarts", NO_DELAY},
    {"docker", 0, "one_that_waits_for_its_restart_is_removed_by_force", NO_DELAY},
    {"docker", 0, "update_changes_labels_and_restart", NO_DELAY},
    {"docker", 0, "a_wait_spans_policy_restarts", NO_DELAY},
    {"podman", 0, "readiness_is_told", "podman's checks are systemd's timers"},
    {"docker", 0, "on_a_full_disk_lines_are_dropped_and_counted", "images and disks are the daemon's"},
    {"docker", 0, "env_user_and_workdir_hold", "the API has no groups for an exec"},
    {"docker", 0, "anonymous_volumes_go_when_asked", "volumes are the daemon's"},
    {"docker", 0, "root_of_a_user_namespace_is_nobody_outside", "the API maps no users of one container"},
    {"docker", 0, "a_listening_socket_is_handed_over", "the API hands no listening socket over"},
    {"docker", 0, "on_demand_*", "the API hands no listening socket over"},
    {"docker", 0, "the_root_of_an_image_is_a_mount", "the API mounts no images"},
    {"docker", 0, "many_execs_leave_nothing", "a thousand execs take the daemon longer than the case has", true},
    {"docker", 0, "follow_goes_on_over_rotation", "the daemon's follower loses what its limit drops", true},
    {"docker", 0, "a_foreign_architecture_fails_and_is_named", "the daemon calls it started, and it fails then", true},
    {"docker", 0, "a_script_without_its_interpreter_fails_and_is_named", "the daemon calls it started, and it fails then", true},
    {"docker", 0, "an_init_passes_the_code_on", "the daemon's init is started, and fails then", true},
    {"docker", 0, "a_bad_workdir_fails_and_is_named", "the daemon refuses it at create", true},
    {"docker", 0, "processors_that_there_are_not_are_refused", "the daemon refuses it at create", true},
    {"docker", 0, "binary_bytes_are_kept", "the daemon's log is JSON: bytes that are no UTF-8 are lost", true},
    {"docker", 0, "old_files_go_when_the_limit_is_reached", "the daemon's limit counts its JSON too", true},
    {"docker", 0, "a_reader_that_falls_behind_is_told_what_is_gone", "the daemon does not say what its limits dropped", true},
    {"docker", 0, "a_reader_that_never_reads_stops_no_workload", "twenty million entries take the daemon's log minutes", true},
    {"docker", 0, "a_privileged_exec_has_all_capabilities", "privileged is every capability, which a machine may not have", true},
    {"docker", 0, "privileged_has_everything", "privileged is every capability, which a machine may not have", true},
    {"docker", 0, "network_a_fixed_address_is_given_once", "the API gives fixed addresses on named networks alone"},
    {"docker", 0, "hosts_hostname_and_resolv_conf_are_made", "the daemon writes no own name into hosts without a network", true},
    {"docker", 0, "its_descriptors_are_left_alone", "connections to the daemon are kept, and made anew when it closes them", true},
    {"docker", 0, "paths_are_masked_and_read_only", "the daemon's cgroups are a writable tmpfs on a hybrid machine", true},
};

#define FILE_ROWS_MAX 256
static struct row file_rows[FILE_ROWS_MAX];
static size_t n_file_rows;

/** A stranger's own table: a line is a glob, or "(image)" for all cases with a real program in a real image; a
 *  blank; and the reason. */
static void read_rows(const struct settings *s)
{
    char *text = read_file(s->unsupported);
    if (!text) {
        fprintf(stderr, "berth-contract: %s: cannot be read\n", s->unsupported);
        exit(2);
    }
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t n = strcspn(line, " \t");
        if (line[0] == '#' || n == 0 || n_file_rows == FILE_ROWS_MAX)
            continue;
        const char *reason =
            line[n] ? line + n + 1 + strspn(line + n + 1, " \t") : "no reason given";
        line[n] = '\0';
        bool image = strcmp(line, "(image)") == 0;
        file_rows[n_file_rows++] = (struct row){s->like, image ? NEEDS_PROGRAM | NEEDS_KERNEL : 0, line, reason};
    }
}

static bool row_has(const struct row *row, const struct settings *s, const struct contract_case *k)
{
    if (strcmp(row->engine, s->like) != 0 && strcmp(row->engine, s->daemon ? s->daemon : "") != 0)
        return false;
    return (row->needs & k->needs) || (row->glob && fnmatch(row->glob, k->name, 0) == 0);
}

static const struct row *table_row(const struct settings *s, const struct contract_case *k)
{
    if (s->unsupported && n_file_rows == 0)
        read_rows(s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (row_has(&rows[i], s, k))
            return &rows[i];
    for (size_t i = 0; i < n_file_rows; i++)
        if (row_has(&file_rows[i], s, k))
            return &file_rows[i];
    return NULL;
}

const char *table_reason(const struct settings *s, const struct contract_case *k, bool *ret_differs)
{
    const struct row *row = table_row(s, k);
    *ret_differs = row && row->differs;
    return row ? row->reason : NULL;
}

static void row_print(const struct row *row)
{
    const char *what = row->needs == NEEDS_PROGRAM   ? "(cases with a real program)"
                       : row->needs == NEEDS_KERNEL  ? "(cases of the kernel)"
                       : row->needs == NEEDS_PROCESS ? "(cases of several processes)"
                                                     : row->glob;
    printf("%-12s %-32s %s\n", row->engine, what, row->reason);
}

void table_print(const struct settings *s)
{
    if (s->unsupported && n_file_rows == 0)
        read_rows(s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        row_print(&rows[i]);
    for (size_t i = 0; i < n_file_rows; i++)
        row_print(&file_rows[i]);
}
