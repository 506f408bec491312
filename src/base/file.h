/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and descriptors: whole reads, atomic writes, locks, trees. All return -errno.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** Read all of a file, at most `max` bytes (-EFBIG above); NUL is put behind it. ret_size may be NULL.
 *  Opens whatever is there (a fifo blocks): for files of ours, not for what a workload made. */
int file_read(int dir_fd, const char *path, size_t max, char **ret_data, size_t *ret_size);
int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_size);
/** Write all, over short writes and EINTR. */
int fd_write_all(int fd, const void *data, size_t size);
/** The same at `offset`, whatever the descriptor's own is. */
int fd_write_all_at(int fd, const void *data, size_t size, off_t offset);

/** Flags for file_write. */
#define FILE_SYNC 1u      /**< fsync the file and its folder */
#define FILE_EXCLUSIVE 2u /**< -EEXIST when it is there already */
/** Write aside (".NAME.xxxxxxxx.new") and rename: a reader sees the old or the new, never half.
 *  The mode is exact, whatever the umask. */
int file_write(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
               unsigned flags);

/** mkdir -p; existing folders keep their mode. */
int make_folders(const char *path, mode_t mode);
/** Open a folder for reading; it and those above it are made first with `mode` when `make`. */
int folder_open(int dir_fd, const char *path, bool make, mode_t mode);
/** Remove `name` (one component) in dir_fd and everything below; follows no link; crosses no mount
 *  (-EBUSY, after removing what could be). Absent is 0. */
int tree_remove(int dir_fd, const char *name);
/** The same for a tree that is gone in no time; -EFBIG, perhaps after removing some, when it has many entries or large files. */
int tree_remove_small(int dir_fd, const char *name);
/** Bytes allocated on disk below; a file with several names counts once, other mounts do not. */
int tree_size(int dir_fd, const char *name, uint64_t *ret_bytes);

/**
 * Open-file-description locks (fcntl(2)): they belong to the open file, survive fork and can be
 * handed to another process. 0, -EAGAIN when somebody else holds it.
 */
int lock_take(int fd);
int lock_take_shared(int fd);
int lock_release(int fd);
/** 1 when somebody else holds an exclusive lock, 0 when not. Takes nothing. */
int lock_held(int fd);

#define FDS_MAX 96 /**< descriptors beside one message */
/** Send and receive one message with descriptors (unix socket). Received ones are close-on-exec.
 *  recv: bytes, 0 at the end; *ret_n_fds is the room of `fds` before, their number after;
 *  -EMSGSIZE for a message that was cut or brought more. */
ssize_t send_with_fds(int socket_fd, const void *data, size_t size, const int *fds, size_t n);
ssize_t recv_with_fds(int socket_fd, void *data, size_t size, int *fds, size_t *ret_n_fds);

#endif
