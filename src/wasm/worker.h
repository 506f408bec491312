/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract between who makes a plan (the engine `wasm`) and the two programs of this folder.
 *
 * Everything is said by argv and descriptors. Both programs are written for hostile modules: the compiler
 * limits itself before it reads one, the worker gives up what it needed for loading before the guest runs.
 *
 *
 * berth-wasmc: one compilation, then gone
 *
 *     berth-wasmc tag --profile P [--fuel]
 *         Prints what keys compiled code (berth_wasm_tag) and a newline. One line, no blanks.
 *     berth-wasmc compile --profile P [--fuel] --in FD --out FD [--meta FD] [--error FD] [--memory BYTES] [--time SECONDS]
 *         Reads the module (a regular file, at most 512 MiB, binary or text format) from --in, writes compiled
 *         code to --out and what it needs to --meta; both should be empty files that it alone has. Nothing is
 *         synced. --memory (2 GiB) limits its address space, --time (300) its CPU seconds. It has no network and
 *         opens no file: after its start only a list of system calls is allowed.
 *         At the end a struct berth_error is written to --error, with code 0 when it is done: our programs are
 *         nobody's children (base/spawn.h), so only a pipe says how one ended.
 *         Exit 0: done. 1: what the error says; its message is on descriptor 2 too. Killed by
 *         SIGXCPU: out of time. Killed by SIGABRT or exit 137: out of memory. What --out holds then is rubbish.
 *     P is "command" (no epoch checks; for run and invoke) or "serve".
 *
 * Meta is text, one item a line, blanks between words; a name's bytes other than printable ASCII, blank and
 * backslash are \xHH:
 *     format 1
 *     kind module|component
 *     guest command1|command2|http|reactor             what it can be, told by its exports; a line for each: a preview 1 or 2
 *                                                      command, wasi:http, or only called by invoke
 *     import MODULE NAME                               (component: import NAME)
 *     export NAME                                      (of an interface: export ns:pkg/iface@1.0.0#NAME)
 *     needs mN.bBYTES.tN.eELEMENTS                     memories, initial size of the largest, tables, of the largest; handed on
 *                                                      verbatim as --needs
 *
 *
 * berth-wasm: one workload, or one exec in it
 *
 * Executed by descriptor inside the finished root, as the workload's user, with its capabilities gone: a static
 * program that needs no file there. Descriptors: 0-2 as for any program (never reopened); listening sockets from 3 on
 * as LISTEN_FDS says; $BERTH_READY_FD as `ready = told` wants it; those that options name.
 *
 *     berth-wasm run    OPTIONS -- ARGV0 [ARG...]       a command; ARGV is the guest's, argv[0] included
 *     berth-wasm invoke OPTIONS --call CALL -- ARGV0 [ARG...]   one export; the ARGs are its values, in WAVE
 *     berth-wasm serve  OPTIONS -- ARGV0 [ARG...]       wasi:http, on every socket of LISTEN_FDS
 *
 * The guest's environment is this process's, without LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, BERTH_READY_FD; with
 * PWD set to the working directory, which is the process's own. (Preview 1 has no working directory of its
 * own: programs that want one read PWD. Relative paths of wasi-libc begin at the guest's "/".)
 *
 * Options (each as "--name value"; sizes in bytes, times in microseconds, plain decimal numbers):
 *     --code FD|/PATH        compiled code: a descriptor (preferred; a file opened read-only), or a file in the root.
 *                            The caller vouches for it: root-owned, from our cache
 *     --needs WORD           from the meta; sizes the pool
 *     --page FD              struct berth_wasm_page: a file of at least its size, open for writing; counters and last words
 *     --dir /PATH            a folder of the root that the guest may use under that path; repeated
 *     --dir-ro /PATH         the same, refused to write by the engine too
 *     --sockets yes          preview 2 may open sockets (as --allow rules)
 *     --allow RULE           a host it may reach; repeated; see model/allowed.h
 *     --nameserver ADDRESS   names are asked of it, port 53; repeated, in this order. There is no /etc in the root
 *     --host NAME=ADDRESS    a name that is known without asking; repeated
 *     --gateway ADDRESS      the host's own on a network of the guest's: reached by a rule for that address alone; repeated
 *     --roots FD             certificates (PEM) that TLS outwards trusts, in place of those that are built in
 *     --fuel N               for one call; the code must have been compiled with --fuel
 *     --memory N --memory-total N --table-elements N --instances N --stack N --call-time N --host-memory N --handles N
 *                            struct berth_wasm_limits, in which 0 or nothing means the same
 *     --profile P            of the code; command for run and invoke, serve for serve, where nothing is said
 *   serve only:
 *     --max-concurrency N    instances at one time; 100 where nothing is said
 *     --queue N --queue-time N --reuse N --connections N --idle-timeout N --threads N
 *     --header-bytes N --header-time N --body-bytes N --response-bytes N
 *     --access-log yes       a line for each request on descriptor 1
 *     --drain-time N         after SIGTERM: how long requests may go on (10 s). SIGKILL follows from the supervisor anyhow
 *
 * Ready: "ready\n" on $BERTH_READY_FD once every import is linked and the next thing is the guest's first instruction (run,
 * invoke) or accept(2) (serve); else a struct berth_error: NOT_FOUND with the missing import as object, CORRUPT for
 * code of another engine, INVALID for an argument that is not UTF-8. Without the variable (an exec) the message is on 2.
 * The descriptor stays open behind "ready": a worker that ends in another way than by the guest's own exit, or its own when
 * idle, writes one line there, at most 400 bytes of printable ASCII, which becomes the reason in the status record:
 * "trap: unreachable", "out of time: ...", "out of memory: ..." (these first words make it an OOM), then function names.
 *
 * Exit codes: what proc_exit or wasi:cli/exit said, 0-255; 134 trap, or out of time or fuel; 137 out of memory; 125 failed on
 * our side before or beside the guest; 128 + N a signal. Which of them it was, with the trap's name and the backtrace,
 * is `end` in the page, and one line and the backtrace on descriptor 2.
 *
 * Signals: run and invoke end at once at SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 and real-time ones, also as process 1.
 * serve drains at SIGTERM, SIGINT, SIGQUIT (a second one drops what still runs), ends at once at SIGHUP.
 * serve ends by itself, exit 0, when idle for --idle-timeout: connections that wait in a socket's backlog are untouched, so with
 * `on_demand` the next one starts it again.
 */
#ifndef WASM_WORKER_H
#define WASM_WORKER_H

#define WASM_EXIT_TRAP 134
#define WASM_EXIT_MEMORY 137
#define WASM_EXIT_FAILED 125
#define WASM_META_MAX_BYTES (16u << 20)
#define WASM_MODULE_MAX_BYTES (512ull << 20)

#endif
