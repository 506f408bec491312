/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record: two files that change places, so that a new record costs no new blocks.
 *
 * The spare is written over in place and exchanged with `status` by one rename. Replacing a file
 * makes ext4 push its data to the disk at once (milliseconds where others write), and needs space
 * that a full disk has not. A reader that is slow enough to see its file written over sees a wrong
 * check and looks again.
 */
#include "store/store.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define STATUS "status"
#define SPARE "status.spare"
#define RECORD_STEP 1024u  /* sizes are multiples: growing a little stays in the block that is there */
#define RECORD_USUAL 4096u /* longer ones are read in a second way */
#define STATUS_MAX_BYTES (64u << 10)
#define READ_ROUNDS 1000
#define CHECK_FORM "{\"check\":\"%016llx\","
#define CHECK_LENGTH 28 /* of what that prints */

static uint64_t hash_bytes(const char *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u, word;
    for (; size >= sizeof(word); data += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, data, sizeof(word));
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 29;
    }
    for (; size > 0; data++, size--)
        hash = (hash ^ (uint8_t)*data) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

/* ---- writing */

/* The record with its check in front, blanks behind it up to whole steps. */
static char *print_record(const struct status *status, size_t *ret_size)
{
    autofree char *json = status_print(status);
    size_t length = json ? strlen(json) : 0;
    while (length > 0 && json[length - 1] != '}')
        length--; /* blanks at the end are not told from ours */
    if (length < 2)
        return NULL;
    size_t size = (CHECK_LENGTH + length + RECORD_STEP) / RECORD_STEP * RECORD_STEP;
    char *record = malloc(size);
    if (!record)
        return NULL;
    char check[CHECK_LENGTH + 1];
    snprintf(check, sizeof(check), CHECK_FORM,
             (unsigned long long)hash_bytes(json + 1, length - 1));
    memcpy(record, check, CHECK_LENGTH);
    memcpy(record + CHECK_LENGTH, json + 1, length - 1);
    memset(record + CHECK_LENGTH + length - 1, ' ', size - CHECK_LENGTH - length);
    record[size - 1] = '\n';
    *ret_size = size;
    return record;
}

static int write_at_start(int fd, const char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = RETRY(pwrite(fd, data + done, size - done, (off_t)done));
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

/*
 * Open the spare, ours alone: whoever writes at the same time, against the rules, must not write
 * over what has become the record meanwhile. -EAGAIN when there is such a one.
 */
static int open_spare(int workload_fd)
{
    struct stat mine, named;
    autoclose int fd =
        RETRY(openat(workload_fd, SPARE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd < 0)
        return -errno;
    int r = lock_take(fd);
    if (r < 0)
        return r;
    if (fstat(fd, &mine) < 0 || fstatat(workload_fd, SPARE, &named, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return mine.st_ino == named.st_ino ? take_fd(&fd) : -EAGAIN;
}

/*
 * ext4 notes the exchange in both inodes, in the transaction that changes the folder: one sync of
 * the file brings all to the disk. A power cut before leaves one of the records that were there.
 */
static bool sync_takes_exchange(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC);
}

static int exchange(int workload_fd, const char *record, size_t size, bool sync)
{
    struct stat st;
    autoclose int fd = open_spare(workload_fd);
    if (fd < 0)
        return fd;
    int r = write_at_start(fd, record, size);
    if (r == 0 && fstat(fd, &st) == 0 && (size_t)st.st_size > size && ftruncate(fd, (off_t)size) < 0)
        r = -errno;
    bool once = sync && r == 0 && sync_takes_exchange(fd);
    if (r == 0 && sync && !once && RETRY(fdatasync(fd)) < 0)
        r = -errno;
    if (r < 0)
        return r;
    crash_point("status.spare");
    if (renameat2(workload_fd, SPARE, workload_fd, STATUS, RENAME_EXCHANGE) < 0)
        return -errno;
    return sync && RETRY(fsync(once ? fd : workload_fd)) < 0 ? -errno : 0;
}

/* The first record, and the spare beside it while there is space. */
static int write_first(int workload_fd, const char *record, size_t size, bool sync)
{
    int r = file_write(workload_fd, STATUS, record, size, 0600, sync ? FILE_SYNC : 0);
    if (r < 0)
        return r;
    autoclose int fd = open_spare(workload_fd);
    return fd < 0 ? fd : write_at_start(fd, record, size);
}

int status_write_at(int workload_fd, const struct status *status, bool sync,
                    struct berth_error *err)
{
    size_t size;
    autofree char *record = print_record(status, &size);
    if (!record)
        return fail_memory(err);
    int r = -ENOENT;
    if (faccessat(workload_fd, STATUS, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        r = exchange(workload_fd, record, size, sync);
        if (r == -EAGAIN || r == -EINVAL || r == -ENOSYS) /* a file system without exchanging */
            r = file_write(workload_fd, STATUS, record, size, 0600, sync ? FILE_SYNC : 0);
    }
    if (r == -ENOENT)
        r = write_first(workload_fd, record, size, sync);
    if (r < 0)
        return fail_os(err, r, NULL, "write the status record");
    crash_point("status.written");
    return 0;
}

/* ---- reading */

/* The text between check and blanks, as the JSON it was; false when it is not what was written. */
static bool find_json(char *text, size_t size, const char **ret_json, size_t *ret_length)
{
    const char *end = memrchr(text, '}', size);
    size = end ? (size_t)(end + 1 - text) : size;
    *ret_json = text;
    *ret_length = size;
    if (size <= CHECK_LENGTH || memcmp(text, CHECK_FORM, strlen("{\"check\":\"")) != 0)
        return true; /* without one: another wrote it, as plain JSON */
    if (strtoull(text + strlen("{\"check\":\""), NULL, 16) !=
        hash_bytes(text + CHECK_LENGTH, size - CHECK_LENGTH))
        return false;
    text[CHECK_LENGTH - 1] = '{';
    *ret_json = text + CHECK_LENGTH - 1;
    *ret_length = size - CHECK_LENGTH + 1;
    return true;
}

/* 1: read, 0: not what was written, -errno. `room` bytes of `text` are enough for nearly all. */
static int read_once(int workload_fd, const char *name, char *text, size_t room,
                     struct status *ret_status, struct berth_error *err)
{
    const char *json;
    size_t length;
    autofree char *all = NULL;
    autoclose int fd = RETRY(openat(workload_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd < 0)
        return -errno;
    ssize_t n = RETRY(read(fd, text, room));
    if (n < 0)
        return -errno;
    if ((size_t)n == room) {
        int r = file_read(workload_fd, name, STATUS_MAX_BYTES, &all, &length);
        if (r < 0)
            return r;
        text = all;
        n = (ssize_t)length;
    }
    if (!find_json(text, (size_t)n, &json, &length))
        return 0;
    int r = status_parse(json, length, ret_status, err);
    return r < 0 ? r : 1;
}

/*
 * A wrong check is a record being written over, or, when it stays, what a power cut left: then the
 * one before it is the truth that we have.
 */
int status_read_at(int workload_fd, struct status *ret_status, struct berth_error *err)
{
    char text[RECORD_USUAL + 1]; /* one more, to see that there is no more */
    int r = 0;
    for (int round = 0; r == 0 && round < READ_ROUNDS; round++)
        r = read_once(workload_fd, STATUS, text, sizeof(text), ret_status, err);
    if (r == 0)
        r = read_once(workload_fd, SPARE, text, sizeof(text), ret_status, err);
    if (r == 1)
        return 0;
    if (r == 0 || r == -EFBIG)
        return fail(err, BERTH_CORRUPT, NULL, "the status record is damaged");
    if (r > -1000) /* errno; a code of berth's otherwise, and err says it */
        return fail_os(err, r, NULL, "read the status record");
    return r;
}
