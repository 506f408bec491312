/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How berth-image is called: the argv of each of its applets and what comes back.
 *
 *   berth-image APPLET ROOT RUN [OPTION...] ARGUMENT...
 *
 *   import   [--reference R] [--config FILE_OR_JSON] [--platform OS/ARCH[/VARIANT]] SOURCE
 *            a folder, a tar (plain, gzip, zstd), or "-": a tar on descriptor 0
 *   load     [--reference R] [--platform P] SOURCE
 *            an OCI layout (folder or tar) or a docker archive; "oci:DIR:TAG", "oci-archive:FILE:TAG",
 *            "docker-archive:FILE:REF" choose one image of several; "-": an archive on descriptor 0
 *   commit   [--config FILE_OR_JSON] [--message M] [--author A] ID REFERENCE
 *            what a workload that doesn't run has changed, as one more layer over its image
 *   pull     [--policy always|missing|newer] [--platform P] REFERENCE
 *            from its registry; always (so it is without one) fails when that can't be asked, newer takes what is
 *            here then, missing asks only for what is not here
 *   save     [--format oci|docker] TARGET REFERENCE...
 *            a folder (OCI layout; made when missing, must be empty) or a file (tar); "-": descriptor 1
 *   settings [--settings FILE]         berth.toml as JSON, checked; ROOT and RUN are not looked at
 *   verify   everything is hashed again
 *   collect  [--unnamed] [--unused]    image_collect(), then the trash of images is deleted
 *   export   ID                        the merged root of a workload as a tar on descriptor 1
 *   push     [--settings FILE] REFERENCE
 *            to the registry that the reference names
 *   login    [REGISTRY]     descriptor 0: {"username","password"}; checked against the registry, then kept where
 *            docker and podman find it ($REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json, ~/.docker/config.json)
 *   logout   [REGISTRY]     without one, that which berth.toml says names without one mean
 *   diff     ID
 *   copy-out ID PATH                   a tar of PATH inside on descriptor 1
 *   copy-in  ID PATH                   a tar on descriptor 0 unpacked into PATH inside
 *
 * Options of all: --folder DIR (relative paths begin there), --progress (else nothing is said on descriptor 2), --max-bytes N, --max-entries N
 * (ceilings of one layer, unpacked), --settings FILE (berth.toml; $BERTH_CONFIG, /etc/berth/berth.toml). ID is a workload's 32 hex digits.
 *
 * Descriptors: 0 input (where an applet reads one), 1 results, 2 progress, 3 how it ended. Results and
 * progress are JSON objects, one a line, except where a tar is said above:
 *   results   import, load, commit  {"reference","id"}, one for each image
 *             pull          {"reference","id",["status":"here"]}
 *             save          {"reference","manifest"}
 *             verify        {"kind":"blob|manifest|config|layer|reference","object","ok",["detail"]}; only
 *                           what is wrong and, last, {"blobs","layers","references","wrong"}
 *             collect       image_collect()'s document
 *             push          {"reference","digest"}
 *             login, logout {"registry","file",["user"]}; logout of where nobody was: "file" is ""
 *             diff          {"path","kind":"added|changed|deleted"}
 *   progress  {"step":"read|unpack|write|store","object","bytes",["total_bytes"]}
 *             pull also: ask (object: the reference), wait and here (a layer that has to come, that is here),
 *             download (a layer, bytes of total_bytes), unreachable (newer: why)
 *             push also: ask, there or send, sent (a blob); fetch (one that was pruned here, from where the image
 *             came from), unfetched (why that place gave none)
 *   ended     {"done":true} or {"error":{"code","object","message"}}, code as berth_code_name()
 * When descriptor 3 closes with neither, the program was killed: LOST. The exit status means nothing.
 *
 * To cancel: SIGTERM, or close the other end of descriptor 3. What was begun is undone, unless the
 * image was already named: the reference is written last, in one step.
 */
#ifndef IMAGE_TOOL_H
#define IMAGE_TOOL_H

#define IMAGE_TOOL_PROGRAM "berth-image"
#define IMAGE_TOOL_END_FD 3
#define IMAGE_TOOL_END_MAX_BYTES 4096 /* longest line on descriptor 3 */

/** Ceilings unless --max-bytes and --max-entries say otherwise. */
#define IMAGE_MAX_LAYER_BYTES (256ull << 30)  /* of one layer, inflated */
#define IMAGE_MAX_LAYER_ENTRIES 2000000ull
#define IMAGE_MAX_FILE_BYTES (4ull << 40)     /* of one file, holes counted */
#define IMAGE_MAX_RATIO 200                   /* inflated to compressed, once above 1 GiB */
#define IMAGE_MAX_MANIFEST_BYTES (4u << 20)
#define IMAGE_MAX_CONFIG_BYTES (8u << 20)
#define IMAGE_MAX_LAYERS 500
#define IMAGE_MAX_WINDOW_LOG 27               /* zstd windows above 128 MiB are refused */

#endif
