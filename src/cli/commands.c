/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands. Everything that a person can read about a command is written here, once.
 */
#include "cli.h"

#define TABLES(...) (const struct flag *const[]){__VA_ARGS__, NULL}
#define FLAGS(...) (const struct flag[]){__VA_ARGS__, {0}}

static const struct flag format_flag[] = {
    {"format", 0, "TEMPLATE", 0, NULL, "print {{.field}}s of each, {{json .}} for all"},
    {0}};
static const struct flag inspect_format_flag[] = {
    {"format", 'f', "TEMPLATE", 0, NULL, "print {{.field}}s of each, {{json .}} for all"},
    {0}};
static const struct flag timeout_flag[] = {
    {"time", 't', "DURATION", 0, NULL, "grace before it is killed: 10, 250ms, 1m"},
    {"timeout", 0, "DURATION", 0, NULL, "the same"},
    {0}};
static const struct flag attach_flags[] = {
    {"detach-keys", 0, "KEYS", 0, NULL, "keys that detach (ctrl-p,ctrl-q)"},
    {"sig-proxy", 0, NULL, 0, NULL, "pass signals on (the default; =false: not)"},
    {0}};
static const struct flag run_flags[] = {
    {"detach", 'd', NULL, 0, NULL, "print the id and return when it runs"},
    {"attach", 'a', "STREAM", 0, NULL, "stdin, stdout or stderr; all by default"},
    {0}};
static const struct flag quiet_flag[] = {
    {"quiet", 'q', NULL, 0, NULL, "print ids or names alone"},
    {0}};
static const struct flag no_trunc_flag[] = {
    {"no-trunc", 0, NULL, 0, NULL, "cut nothing"},
    {0}};
static const struct flag filter_flag[] = {
    {"filter", 'f', "NAME=VALUE", 0, NULL, "status=, name=, id=, label=, health=, exited=, ancestor=, runtime="},
    {0}};
static const struct flag force_flag[] = {
    {"force", 'f', NULL, 0, NULL, "also what is in use"},
    {0}};
static const struct flag yes_flags[] = {
    {"all", 'a', NULL, 0, NULL, "also what has a name, if nothing uses it"},
    {"force", 'f', NULL, 0, NULL, "don't ask"},
    {0}};
static const struct flag network_flags[] = {
    {"subnet", 0, "SUBNET", 0, NULL, "10.5.0.0/24; one more for IPv6"},
    {"gateway", 0, "ADDRESS", 0, NULL, "its own address; the subnet's first"},
    {"ip-range", 0, "SUBNET", 0, NULL, "give addresses from this part"},
    {"ipv6", 0, NULL, 0, NULL, "IPv6 too; a local subnet is chosen"},
    {"internal", 0, NULL, 0, NULL, "no way in or out"},
    {"mtu", 0, "BYTES", 0, NULL, "of its links; the default route's"},
    {"driver", 'd', "DRIVER", 0, NULL, "bridge"},
    {0}};
static const struct flag connect_flags[] = {
    {"ip", 0, "ADDRESS", 0, NULL, "a fixed address on it"},
    {"ip6", 0, "ADDRESS", 0, NULL, "a fixed IPv6 address on it"},
    {"mac-address", 0, "MAC", 0, NULL, "a fixed MAC address on it"},
    {"alias", 0, "NAME", 0, NULL, "one more name on it"},
    {0}};
static const struct flag label_flag[] = {
    {"label", 'l', "NAME=VALUE", 0, NULL, "a label"},
    {0}};

const struct command commands[] = {
    /* ---- the ten ---- */
    {"create", NULL, GROUP_TEN, "IMAGE [COMMAND [ARG...]]", 0, -1, COMMAND_FLAGS_FIRST,
     TABLES(spec_flags, attach_flags), "make a workload, short of running it",
     "Makes everything the workload needs and prints its id. Nothing runs and nothing is mounted "
     "until start. On failure nothing is left behind.\n\nA folder that -v names must exist: unlike "
     "docker, berth doesn't make it, because a misspelt path would become an empty folder of root's.",
     {"berth create --name web --network host nginx", "make it, start it later",
      "berth create --dry-run --network none -m 64m tiny true", "show spec and plan, make nothing"},
     verb_create},
    {"start", NULL, GROUP_TEN, "NAME...", 1, -1, 0,
     TABLES(attach_flags, FLAGS({"attach", 'a', NULL, 0, NULL, "show its output and exit with its code"},
                                {"interactive", 'i', NULL, 0, NULL, "bring our standard input too"})),
     "start created or ended workloads",
     "Returns when the program really runs, or says why it could not; then its state is failed.",
     {"berth start web", "start it", "berth start -a job", "start it, follow its output to the end"},
     verb_start},
    {"stop", NULL, GROUP_TEN, "NAME...", 1, -1, 0, TABLES(timeout_flag), "end workloads in order",
     "Sends the stop signal, waits at most the grace, then kills the whole tree. Stopping a stopped "
     "one succeeds, and so does one that had to be killed.",
     {"berth stop web", "its own signal and grace", "berth stop -t 250ms web db", "a quarter of a second each"},
     verb_stop},
    {"rm", "remove", GROUP_TEN, "NAME...", 1, -1, 0,
     TABLES(FLAGS({"force", 'f', NULL, 0, NULL, "kill it first; no error if there is none"},
                  {"volumes", 'v', NULL, 0, NULL, "its volumes without a name, too"})),
     "remove ended workloads and every trace of them", "Named volumes always stay.",
     {"berth rm web", "remove an ended one", "berth rm -fv web", "kill it, remove it and its unnamed volumes"},
     verb_rm},
    {"status", NULL, GROUP_TEN, "NAME...", 1, -1, 0,
     TABLES(format_flag, FLAGS({"lines", 'n', "N", 0, NULL, "how many of its last log lines (10)"})),
     "what it does, or how it ended and why",
     "One sentence first: state, reason, exit code, times, restarts. Then health, ports, addresses, "
     "log lines that were lost, and the last log lines.",
     {"berth status web", "for people", "berth --json status web", "the same for scripts"}, verb_status},
    {"logs", NULL, GROUP_TEN, "NAME", 1, 1, 0,
     TABLES(FLAGS({"follow", 'f', NULL, 0, NULL, "go on until it has ended and no restart is due"},
                  {"tail", 'n', "N", 0, NULL, "only the last N lines (all)"},
                  {"since", 0, "TIME", 0, NULL, "from here on: 10m, 2026-11-24T10:00:00Z"},
                  {"until", 0, "TIME", 0, NULL, "up to here"},
                  {"timestamps", 't', NULL, 0, NULL, "the time before each line"},
                  {"stdout", 0, NULL, 0, NULL, "only its standard output"},
                  {"stderr", 0, NULL, 0, NULL, "only its standard error"},
                  {"details", 0, NULL, 0, NULL, "taken for docker's sake"})),
     "what it wrote",
     "Standard output goes to standard output, standard error to standard error.",
     {"berth logs -f --tail 20 web", "the last 20 lines and what follows",
      "berth logs --since 10m --stderr web", "errors of the last ten minutes"}, verb_logs},
    {"exec", NULL, GROUP_TEN, "NAME PROGRAM [ARG...]", 1, -1, COMMAND_FLAGS_FIRST | COMMAND_RUNS,
     TABLES(FLAGS({"interactive", 'i', NULL, 0, NULL, "bring our standard input"},
                  {"tty", 't', NULL, 0, NULL, "give it a terminal"},
                  {"detach", 'd', NULL, 0, NULL, "return when it runs; its output is dropped"},
                  {"user", 'u', "USER[:GROUP]", 0, NULL, "name or number"},
                  {"workdir", 'w', "DIR", 0, NULL, "working directory inside"},
                  {"env", 'e', "NAME=VALUE", FLAG_SPECIAL, "env", "a variable; NAME alone takes ours"},
                  {"env-file", 0, "FILE", FLAG_SPECIAL, "env", "variables, one a line"},
                  {"group-add", 0, "GROUP", 0, NULL, "one more group"},
                  {"privileged", 0, NULL, 0, NULL, "with all capabilities"},
                  {"detach-keys", 0, "KEYS", 0, NULL, "keys that leave it running (ctrl-p,ctrl-q)"},
                  {"timeout", 0, "DURATION", 0, NULL, "kill it after this long, with exit code 124"},
                  {"invoke", 0, "CALL", 0, NULL, "call an export of a Wasm module: 'add(1, 2)'"},
                  {"list", 0, NULL, 0, NULL, "list what runs by exec"},
                  {"kill", 0, "ID", 0, NULL, "end one of them"},
                  {"signal", 's', "SIGNAL", 0, NULL, "for --kill (KILL)"})),
     "run one more program inside a running workload",
     "Ends with the program's own exit code, 128 + signal when a signal ended it, 124 when --timeout "
     "passed, 125 when berth failed, 126 when the program can't be executed, 127 when it isn't there.",
     {"berth exec -it web sh", "a shell inside", "berth exec --timeout 5s db pg_isready", "with a limit"},
     verb_exec},
    {"stats", NULL, GROUP_TEN, "[NAME...]", 0, -1, 0,
     TABLES(format_flag, no_trunc_flag,
            FLAGS({"no-stream", 0, NULL, 0, NULL, "one reading, not a live table"},
                  {"all", 'a', NULL, 0, NULL, "taken for docker's sake"})),
     "CPU, memory, processes, network and block I/O",
     "All running ones when no name is given. CPU is the share between two readings, in percent of one "
     "core; memory is the working set.",
     {"berth stats", "a live table", "berth stats --no-stream --json web", "one reading for a script"},
     verb_stats},
    {"port", NULL, GROUP_TEN, "NAME [PORT[/udp]]", 1, 2, 0, NULL,
     "the port on this host that leads to it",
     "Prints ADDRESS:PORT. Exit code 4 and nothing printed when there is none: not published, or not "
     "running. Without a port all of them are listed.",
     {"berth port web 80", "127.0.0.1:49153", "berth port dns 53/udp", "of a UDP port"}, verb_port},
    {"address", NULL, GROUP_TEN, "NAME [PORT]", 1, 2, 0,
     TABLES(FLAGS({"network", 0, "NETWORK", 0, NULL, "on this network; its first by default"})),
     "its own address on a network",
     "Prints IP:PORT, for a proxy that goes to the workload directly. Exit code 4 when there is none.",
     {"berth address web 80", "10.210.0.5:80", "berth address web 80 --network back", "on another network"},
     verb_address},
    /* ---- made of them ---- */
    {"run", NULL, GROUP_MADE, "IMAGE [COMMAND [ARG...]]", 0, -1,
     COMMAND_FLAGS_FIRST | COMMAND_RUNS | COMMAND_COMMON, TABLES(run_flags, spec_flags, attach_flags),
     "create and start, and see its output to the end",
     "Without -d it stays: signals go to the workload, its output comes here, and the exit code is its "
     "program's, 128 + signal when a signal ended it. 125: berth itself failed. 126: the program can't "
     "be executed. 127: it isn't there. The detach keys leave it running.\n\nA folder that -v names "
     "must exist.",
     {"berth run --rm -it --network none tiny sh", "a shell, gone when you leave it",
      "berth run -d --name web --network host --restart always nginx", "a service"}, verb_run},
    {"ps", NULL, GROUP_MADE, "", 0, 0, COMMAND_COMMON,
     TABLES(format_flag, quiet_flag, no_trunc_flag, filter_flag,
            FLAGS({"all", 'a', NULL, 0, NULL, "also those that don't run"},
                  {"size", 's', NULL, 0, NULL, "what each has written over its image, too"},
                  {"last", 'n', "N", 0, NULL, "only the newest N, running or not"},
                  {"latest", 'l', NULL, 0, NULL, "only the newest, running or not"})),
     "list workloads, newest first",
     "Running ones, without -a. -f status= takes the states that it prints, and docker's exited: all that have ended.",
     {"berth ps -a", "all of them", "berth ps -aq -f status=failed", "names to work on"}, verb_ps},
    {"restart", NULL, GROUP_MADE, "NAME...", 1, -1, 0, TABLES(timeout_flag), "stop and start as one request",
     "Followers of its logs go on.", {"berth restart web", "in order", "berth restart -t 0 web", "at once"},
     verb_restart},
    {"wait", NULL, GROUP_MADE, "NAME...", 1, -1, 0, NULL, "wait until it has ended; print its exit code",
     "Returns when no restart is due. The exit code of wait itself is 0.",
     {"berth wait job", "0", "berth --deadline 1m wait job", "124 if it takes longer"}, verb_wait},
    {"kill", NULL, GROUP_MADE, "NAME...", 1, -1, 0,
     TABLES(FLAGS({"signal", 's', "SIGNAL", 0, NULL, "name or number (KILL)"})),
     "send a signal to the main program",
     "An end by KILL or by the stop signal is a deliberate stop: it isn't restarted. "
     "With KILL the answer comes when the program has ended.",
     {"berth kill -s HUP web", "read its settings again", "berth kill web", "end it now"}, verb_kill},
    {"attach", NULL, GROUP_MADE, "NAME", 1, 1, COMMAND_RUNS,
     TABLES(attach_flags, FLAGS({"no-stdin", 0, NULL, 0, NULL, "output only"})),
     "connect to a running workload's terminal or output",
     "Ends with the workload, with its exit code, or at the detach keys.",
     {"berth attach shell", "come back to it", "berth attach --no-stdin --sig-proxy=false web", "only look"},
     verb_attach},
    {"inspect", NULL, GROUP_MADE, "NAME...", 1, -1, COMMAND_COMMON,
     TABLES(inspect_format_flag, FLAGS({"type", 0, "TYPE", 0, NULL, "container, image or volume; else the first that has the name"})),
     "spec, plan, status and paths as JSON",
     "One document: an object for one name, an array for several. A name that no workload has is looked for "
     "among images and volumes. In a template, docker's .State.Status, .State.Running, .State.Pid, "
     ".State.ExitCode, .State.OOMKilled, .State.Error, .State.StartedAt, .State.FinishedAt, .State.Health.Status, .Id, .Name, .Created, "
     ".Image, .Config.Image, .Config.Labels, .NetworkSettings.IPAddress, .RestartCount work as well; others of these groups are errors.",
     {"berth inspect web", "everything", "berth inspect --format '{{.status.pid}}' web", "one field"},
     verb_inspect},
    {"top", NULL, GROUP_MADE, "NAME [PS-OPTION...]", 1, -1, COMMAND_FLAGS_FIRST, TABLES(no_trunc_flag), "processes inside",
     "With options of ps(1), its lines of these processes; they must have a column PID.",
     {"berth top web", "who does what", "berth top web -o pid,comm,rss", "as ps shows it"}, verb_top},
    {"cp", NULL, GROUP_MADE, "SOURCE TARGET", 2, 2, 0,
     TABLES(FLAGS({"archive", 'a', NULL, 0, NULL, "keep owners"},
                  {"follow-link", 'L', NULL, 0, NULL, "what our link SOURCE points to"})),
     "copy between this machine and a workload",
     "One side is NAME:PATH, running or not. As with cp -r: into TARGET if that is a folder, and "
     "SOURCE/. is what is in it. A - is a tar stream on standard input or output. Volumes and other mounts are there "
     "only while it runs.",
     {"berth cp web:/etc/nginx/nginx.conf .", "out of it", "berth cp site/. web:/srv/www", "into it"}, verb_cp},
    {"events", NULL, GROUP_MADE, "[NAME]", 0, 1, 0,
     TABLES(format_flag, FLAGS({"since", 0, "TIME", 0, NULL, "from here on: 1d, 10m, a date"},
                               {"until", 0, "TIME", 0, NULL, "up to here, then end: now, 10m"},
                               {"filter", 'f', "NAME=VALUE", 0, NULL, "event=, name= (or container=), id=, type="},
                               {"no-follow", 0, NULL, 0, NULL, "what has been, then end"})),
     "what happens, as it happens",
     "die events carry the whole end record and outlive rm.",
     {"berth events", "from now on", "berth events --since 1d --no-follow web", "what happened to web"},
     verb_events},
    {"pause", NULL, GROUP_MADE, "NAME...", 1, -1, 0, NULL, "freeze workloads", "",
     {"berth pause web", "stop the clock", "berth pause web db", "of two"}, verb_pause},
    {"unpause", NULL, GROUP_MADE, "NAME...", 1, -1, 0, NULL, "let frozen workloads go on", "",
     {"berth unpause web", "go on", "berth unpause web db", "both"}, verb_unpause},
    {"update", NULL, GROUP_MADE, "NAME...", 1, -1, 0, TABLES(update_flags),
     "change limits, restart policy, log limits, labels, ports",
     "Takes effect at once on a running workload.",
     {"berth update -m 1g web", "more memory", "berth update --restart always web", "another policy"},
     verb_update},
    {"rename", NULL, GROUP_MADE, "NAME NEW-NAME", 2, 2, 0, NULL, "give a workload another name", "",
     {"berth rename web old-web", "make room", "berth rename 1c9f web", "by its id"}, verb_rename},
    {"diff", NULL, GROUP_MADE, "NAME", 1, 1, 0, NULL, "what a workload changed in its image",
     "A added, C changed, D deleted.",
     {"berth diff web", "all changes", "berth --json diff web", "for scripts"}, verb_diff},
    {"export", NULL, GROUP_MADE, "NAME", 1, 1, 0,
     TABLES(FLAGS({"output", 'o', "FILE", 0, NULL, "write here, not to standard output"})),
     "a workload's root as a tar", "",
     {"berth export -o web.tar web", "into a file", "berth export web | tar -t", "look into it"}, verb_export},
    /* ---- images ---- */
    {"images", "image ls", GROUP_IMAGES, "[NAME]", 0, 1, COMMAND_COMMON,
     TABLES(format_flag, quiet_flag, no_trunc_flag,
            FLAGS({"all", 'a', NULL, 0, NULL, "taken for docker's sake"},
                  {"digests", 0, NULL, 0, NULL, "the manifest's digest of each, too"},
                  {"filter", 'f', "NAME=VALUE", 0, NULL, "reference= (a name or a pattern), dangling="})), "list images, newest first", "",
     {"berth images", "all", "berth images nginx", "of that name"}, verb_images},
    {"rmi", "image rm", GROUP_IMAGES, "IMAGE...", 1, -1, 0, TABLES(force_flag), "remove images",
     "Layers that nothing needs go with the last name, unless a workload uses them.",
     {"berth rmi nginx:1.27", "one", "berth rmi -f old", "its name, though a workload uses it"}, verb_rmi},
    {"tag", "image tag", GROUP_IMAGES, "IMAGE NAME", 2, 2, 0, NULL, "give an image one more name", "",
     {"berth tag nginx:1.27 nginx:good", "remember it", "berth tag tiny registry:5000/tiny", "before push"},
     verb_tag},
    {"history", "image history", GROUP_IMAGES, "IMAGE", 1, 1, 0, TABLES(no_trunc_flag),
     "how an image was made", "",
     {"berth history nginx", "newest step first", "berth history --no-trunc nginx", "whole commands"},
     verb_history},
    {"image inspect", NULL, GROUP_IMAGES, "IMAGE...", 1, -1, 0, TABLES(inspect_format_flag),
     "manifest, config and layers as JSON", "",
     {"berth image inspect tiny", "everything",
      "berth image inspect --format '{{.config.config.Entrypoint}}' tiny", "one field"}, verb_image_inspect},
    {"image import", "import", GROUP_IMAGES, "SOURCE [NAME]", 1, 2, 0,
     TABLES(FLAGS({"change", 'c', "INSTRUCTION", 0, NULL, "CMD, ENTRYPOINT, ENV, USER, WORKDIR, EXPOSE, VOLUME, LABEL, STOPSIGNAL, as in a Dockerfile"},
                  {"config", 0, "FILE", 0, NULL, "members of the image's config, JSON"},
                  {"platform", 0, "OS/ARCH", 0, NULL, "its platform; this machine's by default"})),
     "make an image of a root folder or tar",
     "SOURCE is a folder, a tar (plain, gzip or zstd), or - for a tar on standard input.",
     {"berth image import ./rootfs tiny", "a folder",
      "berth image import -c 'CMD [\"sh\"]' rootfs.tar.gz tiny:1", "a tar, with a command"},
     verb_image_import},
    {"image load", "load", GROUP_IMAGES, "[SOURCE]", 0, 1, 0,
     TABLES(FLAGS({"input", 'i', "FILE", 0, NULL, "the same as SOURCE"},
                  {"quiet", 'q', NULL, 0, NULL, "no progress"},
                  {"tag", 't', "NAME", 0, NULL, "name to give instead of those inside"},
                  {"platform", 0, "OS/ARCH", 0, NULL, "which one of an index"})),
     "load images that a file or folder holds",
     "SOURCE is an OCI layout (folder or tar) or a docker archive, plain, gzip or zstd.",
     {"berth image load nginx.tar", "what docker save or skopeo made",
      "berth image load -t nginx:1.27 ./layout", "an OCI layout, under a name"}, verb_image_load},
    {"image save", "save", GROUP_IMAGES, "IMAGE...", 1, -1, 0,
     TABLES(FLAGS({"output", 'o', "FILE", 0, NULL, "file or folder to write"},
                  {"format", 0, "FORMAT", 0, NULL, "oci (default) or docker; also oci-archive, docker-archive, oci-dir"},
                  {"format-as", 0, "FORMAT", 0, NULL, "the same"})),
     "write images to a file, a folder or standard output",
     "A path that ends in / or is a folder becomes an OCI layout. Without -o, or with -o -, the archive goes to "
     "standard output, which must not be a terminal.",
     {"berth image save -o nginx.tar nginx", "an OCI archive",
      "berth save --format docker nginx | ssh host docker load", "without a file"}, verb_image_save},
    {"image verify", NULL, GROUP_IMAGES, "", 0, 0, 0, NULL, "hash every blob and layer again", "",
     {"berth image verify", "says what it found", "berth --json image verify", "for scripts"},
     verb_image_verify},
    {"image prune", NULL, GROUP_IMAGES, "", 0, 0, 0,
     TABLES(yes_flags, FLAGS({"blobs", 0, NULL, 0, NULL, "the compressed layers of all images, which only save and push need"})),
     "remove images that have no name",
     "With -a all that no workload uses. What a pull that runs needs is not taken.",
     {"berth image prune -f", "those without a name", "berth image prune -af", "all that nothing uses"},
     verb_image_prune},
    {"pull", "image pull", GROUP_IMAGES, "IMAGE...", 1, -1, 0,
     TABLES(quiet_flag, FLAGS({"platform", 0, "PLATFORM", 0, NULL, "linux/arm64 and the like; this machine's by default"},
                              {"policy", 0, "WHEN", 0, NULL, "always (default), missing, newer: what is here will do"})),
     "fetch images from their registries",
     "Layers that are here are not fetched. What a pull that broke off has fetched is kept for a day and used.",
     {"berth pull nginx", "docker.io/library/nginx:latest", "berth pull registry.example:5000/a/b:1.2", "from another"},
     verb_pull},
    {"push", "image push", GROUP_IMAGES, "IMAGE", 1, 1, 0, TABLES(quiet_flag), "send an image to a registry",
     "The image's name says where to: give it one with `berth tag`. What the registry has is not sent again; of what its "
     "other repositories have, it takes its own. A layer whose compressed form was pruned here is fetched again from where the image came from, and kept.\n\n"
     "The reference and the manifest's digest are printed.",
     {"berth tag web registry.example:5000/team/web:1.2", "a name there",
      "berth push registry.example:5000/team/web:1.2", "send it"}, verb_push},
    {"login", NULL, GROUP_IMAGES, "[REGISTRY]", 0, 1, 0,
     TABLES(FLAGS({"username", 'u', "NAME", 0, NULL, "user name; asked for when not given"},
                  {"password-stdin", 0, NULL, 0, NULL, "read the password from standard input"})),
     "remember a registry's password",
     "Without a registry: the one that short names mean, docker.io. The password is tried first. It is kept where docker and podman find it: in the file "
     "$REGISTRY_AUTH_FILE, else $DOCKER_CONFIG/config.json, else ~/.docker/config.json (mode 0600), or in the credential helper "
     "that this file names. What docker or podman keep is used as well.\n\nThere is no flag for the password itself: others can "
     "read a program's arguments.",
     {"berth login registry.example:5000", "asks for both", "berth login -u robot --password-stdin ghcr.io <token", "in a script"},
     verb_login},
    {"logout", NULL, GROUP_IMAGES, "[REGISTRY]", 0, 1, 0, NULL, "forget a registry's password",
     "Without a registry: as `berth login`. It is taken out of the file that `berth login` writes, and out of its credential helper.",
     {"berth logout registry.example:5000", "this one", "berth logout", "docker.io"}, verb_logout},
    {"commit", NULL, GROUP_IMAGES, "NAME IMAGE", 2, 2, 0,
     TABLES(FLAGS({"change", 'c', "INSTRUCTION", 0, NULL, "CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR, EXPOSE, ..."},
                  {"message", 'm', "TEXT", 0, NULL, "for the image's history"},
                  {"author", 'a', "TEXT", 0, NULL, "who made it"})),
     "make an image of a workload's changes",
     "What a workload that does not run has changed in its root becomes one more layer over its image. What lies in "
     "volumes and other mounts does not.",
     {"berth stop web && berth commit web web:patched", "a new image", "berth commit -c 'CMD [\"serve\"]' -m 'by hand' web web:2",
      "with another command"}, verb_commit},
    {"image compile", NULL, GROUP_IMAGES, "IMAGE...", 1, -1, 0, NULL,
     "compile a Wasm module ahead of its first create",
     "Its machine code goes into the cache (berth-wasm(7)); where it is there already nothing is done.",
     {"berth image compile ghcr.io/example/hello:1", "before it is needed", "berth image import app.wasm app && berth image compile app",
      "one from a file"},
     verb_image_compile},
    /* ---- things with names ---- */
    {"volume create", NULL, GROUP_THINGS, "[NAME]", 0, 1, 0, TABLES(label_flag), "make a named volume",
     "Making one that exists already succeeds. Without a name one is made.",
     {"berth volume create data", "make it", "berth run -v data:/var/lib/db --network host db", "use it"},
     verb_volume_create},
    {"volume ls", "volume list", GROUP_THINGS, "", 0, 0, 0,
     TABLES(format_flag, quiet_flag, no_trunc_flag,
            FLAGS({"filter", 'f', "NAME=VALUE", 0, NULL, "name= (a part of it), dangling=, label=, anonymous="})),
     "list volumes", "", {"berth volume ls", "all", "berth volume ls -q", "names alone"}, verb_volume_ls},
    {"volume inspect", NULL, GROUP_THINGS, "NAME...", 1, -1, 0, TABLES(inspect_format_flag), "one volume as JSON", "",
     {"berth volume inspect data", "everything", "berth volume inspect --format '{{.path}}' data", "its folder"},
     verb_volume_inspect},
    {"volume rm", "volume remove", GROUP_THINGS, "NAME...", 1, -1, 0, TABLES(force_flag),
     "remove volumes and what is in them", "One that a workload uses stays.",
     {"berth volume rm data", "one", "berth volume rm -f data", "no error if there is none"},
     verb_volume_rm},
    {"volume prune", NULL, GROUP_THINGS, "", 0, 0, 0, TABLES(yes_flags),
     "remove volumes without a name that nothing uses", "With -a named ones too.",
     {"berth volume prune -f", "unnamed ones", "berth volume prune -af", "all that nothing uses"},
     verb_volume_prune},
    {"network create", NULL, GROUP_THINGS, "NAME", 1, 1, 0, TABLES(network_flags, label_flag), "make a named network",
     "A bridge on this machine with a subnet of its own. Workloads on it reach each other by name; those on "
     "different networks don't reach each other. Without --subnet a free one is chosen that no route of this "
     "machine covers.",
     {"berth network create back", "a free subnet", "berth network create --subnet 10.5.0.0/24 --internal db",
      "no way in or out"},
     verb_network_create},
    {"network ls", "network list", GROUP_THINGS, "", 0, 0, 0,
     TABLES(format_flag, quiet_flag, no_trunc_flag,
            FLAGS({"filter", 'f', "NAME=VALUE", 0, NULL, "name= (a part of it), dangling=, label="})),
     "list networks", "", {"berth network ls", "all", "berth network ls -q", "names alone"}, verb_network_ls},
    {"network inspect", NULL, GROUP_THINGS, "NAME...", 1, -1, 0, TABLES(inspect_format_flag),
     "one network as JSON", "With the workloads that hold an address on it.",
     {"berth network inspect back", "everything", "berth network inspect --format '{{.subnet}}' back", "its subnet"},
     verb_network_inspect},
    {"network rm", "network remove", GROUP_THINGS, "NAME...", 1, -1, 0, TABLES(force_flag), "remove networks",
     "One that a workload is on stays, running or not.",
     {"berth network rm back", "one", "berth network rm -f back", "no error if there is none"}, verb_network_rm},
    {"network prune", NULL, GROUP_THINGS, "", 0, 0, 0, TABLES(yes_flags), "remove networks that nothing uses", "",
     {"berth network prune", "asks first", "berth network prune -f", "doesn't"}, verb_network_prune},
    {"network connect", NULL, GROUP_THINGS, "NETWORK NAME", 2, 2, 0, TABLES(connect_flags),
     "put a workload on one more network", "At once when it runs.",
     {"berth network connect back web", "one more", "berth network connect --ip 10.5.0.9 back web", "a fixed address"},
     verb_network_connect},
    {"network disconnect", NULL, GROUP_THINGS, "NETWORK NAME", 2, 2, 0, TABLES(force_flag),
     "take a workload off a network", "Its address there is free at once.",
     {"berth network disconnect back web", "off back", "berth network disconnect bridge web", "off the default one"},
     verb_network_disconnect},
    /* ---- the machine ---- */
    {"engines", NULL, GROUP_MACHINE, "", 0, 0, 0, NULL, "names of all engines",
     "One name a line.", {"berth engines", "what this berth can run", "berth --json engines", "for scripts"},
     verb_engines},
    {"info", NULL, GROUP_MACHINE, "", 0, 0, 0, TABLES(format_flag), "kernel, cgroups, store, versions, limits",
     "", {"berth info", "for people", "berth info --format '{{.cgroup}}'", "one field"}, verb_info},
    {"version", NULL, GROUP_MACHINE, "", 0, 0, 0, TABLES(format_flag), "version of berth and its library", "",
     {"berth version", "both", "berth --json version", "for scripts"}, verb_version},
    {"df", NULL, GROUP_MACHINE, "", 0, 0, 0, TABLES(format_flag),
     "space used by images, workloads, volumes, logs", "",
     {"berth df", "for people", "berth --json df", "for scripts"}, verb_df},
    {"prune", NULL, GROUP_MACHINE, "", 0, 0, 0,
     TABLES(FLAGS({"all", 'a', NULL, 0, NULL, "all images that nothing uses"},
                  {"volumes", 0, NULL, 0, NULL, "volumes without a name that nothing uses"},
                  {"force", 'f', NULL, 0, NULL, "don't ask"})),
     "remove ended workloads and images without a name", "",
     {"berth prune -f", "what is certainly waste", "berth prune -af --volumes", "all that nothing uses"},
     verb_prune},
    {"container prune", NULL, GROUP_MACHINE, "", 0, 0, 0, TABLES(FLAGS({"force", 'f', NULL, 0, NULL, "don't ask"})),
     "remove ended workloads", "And their volumes without a name.",
     {"berth container prune", "asks first", "berth container prune -f", "doesn't"}, verb_container_prune},
    {"doctor", NULL, GROUP_MACHINE, "", 0, 0, COMMAND_COMMON,
     TABLES(FLAGS({"repair", 0, NULL, 0, NULL, "mend what can be mended"})),
     "check kernel, cgroups, store, limits", "Exit code 0: sound or repaired. 1: something remains.",
     {"berth doctor", "look", "berth doctor --repair", "mend"}, verb_doctor},
    {"pool", NULL, GROUP_MACHINE, "[COUNT]", 0, 1, 0, NULL, "keep network namespaces ready for starts",
     "As long as it runs, 8 when COUNT is left out. A start on a network takes one that is ready, and makes its own when there is "
     "none. For an init system: a service that runs `berth pool`.",
     {"berth pool 20", "until it is interrupted", "berth pool &", "beside a script that starts many"}, verb_pool},
    {"boot", NULL, GROUP_MACHINE, "", 0, 0, 0, NULL, "start after a reboot what its policy says",
     "A oneshot for any init; the unit berth-boot.service calls it.",
     {"berth boot", "once, when the machine has started", "berth --json boot", "one object for each"},
     verb_boot},
    {"completion", NULL, GROUP_MACHINE, "bash|zsh|fish", 1, 1, 0, NULL, "completion for a shell", "",
     {"eval \"$(berth completion bash)\"", "for this shell",
      "berth completion fish > ~/.config/fish/completions/berth.fish", "for good"}, verb_completion},
    {"help", NULL, GROUP_MACHINE, "[VERB]", 0, 2, 0, NULL, "help on berth or one verb", "",
     {"berth help", "all verbs", "berth help run", "one"}, verb_help},
    {"build", NULL, GROUP_MACHINE, "", 0, -1, COMMAND_FLAGS_FIRST | COMMAND_LATER, NULL, "(not berth's)",
     "berth builds no images. buildah and BuildKit do; load what they made.",
     {"buildah build -t web . && buildah push web docker-archive:web.tar", "build", "berth image load web.tar", "load"},
     verb_later},
    {"search", NULL, GROUP_MACHINE, "TERM", 0, -1, COMMAND_FLAGS_FIRST | COMMAND_LATER, NULL, "(not berth's)",
     "berth searches no registry: their web pages do, and `skopeo list-tags` lists the tags of a name.",
     {"skopeo list-tags docker://docker.io/library/nginx", "tags", "berth run --network none tiny true", "run one"}, verb_later},
    {"compose", NULL, GROUP_MACHINE, "", 0, -1, COMMAND_FLAGS_FIRST | COMMAND_LATER, NULL, "(not berth's)",
     "berth reads no compose files. Write a spec for each service and start them from a script or unit.",
     {"berth run -d --spec web.toml", "one service", "berth run -d --spec db.toml", "another"}, verb_later},
    {"swarm", NULL, GROUP_MACHINE, "", 0, -1, COMMAND_FLAGS_FIRST | COMMAND_LATER, NULL, "(not berth's)",
     "berth is for one machine. For many there is Kubernetes.",
     {"berth run -d --restart always --network host nginx", "a service on this machine", "berth ps", "what runs"},
     verb_later},
    {"manual", NULL, GROUP_HIDDEN, "[VERB]", 0, 2, 0, NULL, "scdoc source of a manual page", "",
     {"berth manual", "of berth(1)", "berth manual run", "of berth-run(1)"}, verb_manual},
};
const size_t commands_count = ARRAY_SIZE(commands);

const struct flag *command_flag(const struct command *command, size_t index)
{
    for (size_t i = 0; command->flags && command->flags[i]; i++)
        for (const struct flag *f = command->flags[i]; f->name; f++)
            if (index-- == 0)
                return f;
    return NULL;
}

static bool names(const struct command *command, const char *word)
{
    return strcmp(command->name, word) == 0 || (command->alias && strcmp(command->alias, word) == 0);
}

/* docker's other spellings: `container ls`, `system df`. */
static const struct {
    const char *group, *word, *name; /* word NULL: any of the group's own */
} spellings[] = {
    {"container", "ls", "ps"},     {"container", "list", "ps"},   {"container", "ps", "ps"},
    {"system", "df", "df"},        {"system", "info", "info"},    {"system", "events", "events"},
    {"system", "prune", "prune"},  {"image", "list", "images"},   {"image", "remove", "rmi"},
    {"container", NULL, NULL},
};

/* The verb that these two words mean; NULL: none, or it is no matter of a workload. */
static const struct command *find_spelling(const char *group, const char *word)
{
    const char *name = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(spellings) && !name; i++)
        if (strcmp(spellings[i].group, group) == 0 && (!spellings[i].word || strcmp(spellings[i].word, word) == 0))
            name = spellings[i].name ? spellings[i].name : word;
    for (size_t i = 0; name && i < commands_count; i++)
        if (names(&commands[i], name) &&
            (name != word || commands[i].group == GROUP_TEN || commands[i].group == GROUP_MADE || strcmp(name, "commit") == 0))
            return &commands[i];
    return NULL;
}

const struct command *command_find(char *const *words, int count, int *ret_used)
{
    const struct command *other = count < 2 ? NULL : find_spelling(words[0], words[1]);
    if (other) {
        *ret_used = 2;
        return other;
    }
    for (int used = count < 2 ? count : 2; used > 0; used--) {
        autofree char *name = used == 2 ? text_new("%s %s", words[0], words[1]) : text_copy(words[0]);
        for (size_t i = 0; i < commands_count; i++)
            if (names(&commands[i], name)) {
                *ret_used = used;
                return &commands[i];
            }
    }
    return NULL;
}
