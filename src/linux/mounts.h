/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts by descriptor, and paths inside a root that somebody else filled.
 *
 * A mount is made detached (nobody sees it), finished, then placed on a descriptor that was opened
 * inside the root and checked: no path is walked twice, so nothing can be exchanged in between.
 * Functions return a descriptor or 0, else -errno. -ENOSYS: a kernel before 5.12.
 */
#ifndef LINUX_MOUNTS_H
#define LINUX_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** A detached copy of the mount at path (or of dir_fd itself when path is ""). */
int mount_clone(int dir_fd, const char *path, bool recursive);
/** A new file system, detached. `options` is "key=value,flag" as for mount(2), NULL none;
 * attributes are MOUNT_ATTR_*. */
int mount_new(const char *type, const char *source, const char *options, uint64_t attributes);
/** Set MOUNT_ATTR_* of a tree and its propagation (MS_PRIVATE, MS_SLAVE, MS_SHARED or 0). */
int mount_attributes(int tree_fd, uint64_t set, uint64_t propagation, bool recursive);
int mount_idmap(int tree_fd, int userns_fd, bool recursive);
/** Put a detached tree onto an opened target. */
int mount_place(int tree_fd, int target_fd);
/** MS_* of mount(2) as MOUNT_ATTR_*. */
uint64_t mount_attributes_of(uint64_t ms_flags);
/** f_type of what a descriptor lies on, 0 when it can't be asked. */
uint64_t mount_type(int fd);
/** Make everything that the calling process sees private to its namespace. */
int mount_all_private(void);

/**
 * An overlay of folders (O_PATH descriptors, lowest first), detached. upper and work -1: read-only.
 * One layer alone is a read-only copy of it; none: of upper. `place`: a folder that older kernels
 * may mount on in passing, in a mount namespace that is private.
 */
int overlay_make(const int *layers, size_t n, int upper_fd, int work_fd, const char *place);

/**
 * Close a descriptor that may be the last of an overlay: its end writes the whole upper file system
 * to disk, which takes as long as others have written. Since Linux 6.9 a worker of the kernel does
 * that, before it is done here.
 */
void close_later(int fd);

/** openat2 that can't leave root_fd: links are taken as seen from inside, magic links refused. */
int root_open(int root_fd, const char *path, int flags);
/** The same below a descriptor, but no link at all, and no other mount when `one_mount`. */
int below_open(int dir_fd, const char *path, int flags, bool one_mount);
/** A folder (file) inside as an O_PATH descriptor, made when missing, with its parents (0755, 0644
 * less the umask). */
int root_make_folder(int root_fd, const char *path);
int root_make_file(int root_fd, const char *path);

#endif
