/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every name that crash_point() is called with, so that tests can try them all.
 *
 * X(name, when). A test greps the sources for crash_point("...") and compares.
 */
#ifndef BASE_CRASH_POINTS_H
#define BASE_CRASH_POINTS_H

#define CRASH_POINTS(X)                                                                            \
    X("create.folder", "aside folder made, not yet locked")                                        \
    X("create.locked", "aside folder locked, empty")                                               \
    X("create.labelled", "name written in the folder, not yet taken")                              \
    X("create.named", "name taken")                                                                \
    X("create.leased", "a lease taken and noted")                                                  \
    X("create.committing", "about to be renamed into workloads")                                   \
    X("create.renamed", "in workloads, lock not yet dropped")                                      \
    X("lease.noted", "lease noted with its holder, not yet taken")                                 \
    X("claim.stale", "a dead holder's claim removed, ours not yet made")                           \
    X("remove.renamed", "in the trash, name and leases still taken")                               \
    X("remove.released", "name and leases free, run folder still there")                           \
    X("remove.done", "run folder gone, trash not emptied")                                         \
    X("rename.taken", "new name taken, label still the old one")                                   \
    X("rename.labelled", "label new, old name still taken")                                        \
    X("status.spare", "new status record in the spare file, not yet in place")                     \
    X("status.written", "new status record in place")                                              \
    X("volume.filled", "volume made aside, not yet in place")                                      \
    X("volume.removed", "volume in the trash")                                                     \
    X("network.made", "a network's record written")                                               \
    X("network.removed", "a network's record gone, folders of its leases still there")             \
    X("log.data", "bytes in the log, no index record yet")                                         \
    X("log.rotated", "next log file made, oldest not yet dropped")                                 \
    X("start.marked", "record says that a supervisor is being born, there is none yet")           \
    X("start.born", "supervisor's first act, plan not read")                                       \
    X("start.planned", "plan read, nothing made")                                                  \
    X("net.recorded", "network written down, ports held, no link yet")                             \
    X("net.link", "a link made, not configured")                                                   \
    X("net.configured", "links have their addresses, no rules yet")                                \
    X("net.held", "ports held, nothing written down")                                              \
    X("net.filter", "packet filter made, shares not put back")                                     \
    X("net.rules", "links and rules there")                                                        \
    X("net.change", "a change of networks or ports written down, nothing made")                    \
    X("net.taken", "rules taken out, ports and namespace still held")                              \
    X("attach.sent", "an attach made before the start is on its way to a supervisor being born")     \
    X("attach.adopted", "the supervisor has it, nothing runs")                                      \
    X("start.prepared", "cgroups and namespaces made, socket not yet there")                       \
    X("start.listening", "socket there, program not yet cloned")                                   \
    X("start.output", "pipes made, program not yet cloned")                                        \
    X("start.cloned", "program cloned, not yet executed")                                          \
    X("start.ready", "program runs, record does not say so")                                       \
    X("start.recorded", "record says running, caller has no answer")                               \
    X("start.answered", "caller has its answer")                                                   \
    X("pull.aside", "an image's folder aside made and locked")                                     \
    X("pull.asked", "file for a layer made, nothing of it asked for")                              \
    X("pull.bytes", "some bytes of a layer in its file")                                           \
    X("pull.blob", "a layer's blob in place, its files not")                                       \
    X("pull.layer", "a layer in place, no record")                                                 \
    X("pull.documents", "everything in place but the record")                                      \
    X("pull.synced", "everything synced, nothing says so")                                         \
    X("names.locked", "the lock of names is held, its socket not yet made")                        \
    X("names.listening", "the socket of names is there, berth-dns is not")                         \
    X("names.spawned", "berth-dns runs, nothing was said to it")                                   \
    X("names.born", "berth-dns has its sockets, no worker yet")                                    \
    X("exec.asked", "supervisor has the request")                                                  \
    X("exec.cloned", "exec cloned, not yet executed")                                              \
    X("exec.started", "exec runs, caller has no answer")                                           \
    X("exec.ended", "exec reaped, caller has no answer")                                           \
    X("stop.connected", "caller has the supervisor's socket, nothing asked yet")                   \
    X("stop.asked", "supervisor has the request")                                                  \
    X("stop.signalled", "stop signal sent, record not yet stopping")                               \
    X("stop.killed", "everything killed, nothing reaped")                                          \
    X("end.reaped", "main program reaped, its children not yet killed")                            \
    X("end.killed", "everything killed, output not yet in the log")                                \
    X("end.drained", "output in the log, end not recorded")                                        \
    X("end.recorded", "end record written, cgroups still there")                                   \
    X("end.freed", "cgroups gone, life still locked")                                              \
    X("end.answered", "callers have their answer")                                                 \
    X("end.after", "about to run the at-end command or the removal")                               \
    X("helper.remove.waited", "the helper saw the supervisor end")                                 \
    X("helper.remove.cgroup", "the helper removed the cgroup")                                     \
    X("helper.delete.entry", "the helper is about to delete one entry of the trash")

#endif
