/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of images: one small file for each name, so that finding an image is one open and one read.
 *
 * Everything in a record was checked when it was written, but a digest becomes a path, so that much is
 * checked again whenever one is read.
 */
#include "image/record.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".json"
#define LONGEST_NAME 200 /* of a file, escaped; what is longer is cut and hashed */

void record_clear(struct record *r)
{
    char *texts[] = {r->reference, r->manifest, r->id, r->source, r->boot, r->architecture, r->os, r->variant};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    strings_free(r->diff_ids);
    strings_free(r->blobs);
    *r = (struct record){0};
}

static char this_boot[40];
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;

static void read_boot_id(void)
{
    autofree char *text = NULL;
    if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL) == 0)
        memcpy(this_boot, text, strnlen(text, 36));
}

const char *boot_id(void)
{
    pthread_once(&boot_once, read_boot_id);
    return this_boot;
}

static uint64_t fnv(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

/* '/' and ':' are written %2f and %3a; all other characters of a reference are plain in a file name. */
char *record_file(const char *reference, const char *id)
{
    autotext struct text t = {0};
    const char *source = *reference ? reference : id;
    if (!*reference)
        text_add(&t, "@");
    for (const char *s = source; *s; s++)
        switch (*s) {
        case '/': text_add(&t, "%2f"); break;
        case ':': text_add(&t, "%3a"); break;
        default: text_add_bytes(&t, s, 1);
        }
    if (t.length > LONGEST_NAME) {
        t.length = LONGEST_NAME - 20;
        t.data[t.length] = 0;
        text_printf(&t, "%%%016llx", (unsigned long long)fnv(source));
    }
    text_add(&t, SUFFIX);
    return text_take(&t);
}

/*
 * The first line is read by hand: a list of a thousand images may take 20 ms, and jansson alone would.
 * It is only ever written below: one object, no blanks, no escapes.
 */
struct cursor { const char *at, *end; };

static bool take(struct cursor *c, char wanted)
{
    bool is = c->at < c->end && *c->at == wanted;
    c->at += is;
    return is;
}

static int take_string(struct cursor *c, const char **ret, size_t *ret_length)
{
    const char *quote = take(c, '"') ? memchr(c->at, '"', (size_t)(c->end - c->at)) : NULL;
    if (!quote || memchr(c->at, '\\', (size_t)(quote - c->at)))
        return -EBADMSG;
    *ret = c->at;
    *ret_length = (size_t)(quote - c->at);
    c->at = quote + 1;
    return 0;
}

static int take_text(struct cursor *c, void *target)
{
    char **text = target;
    const char *s;
    size_t n;
    if (take_string(c, &s, &n) < 0 || *text)
        return -EBADMSG;
    *text = strndup(s, n);
    return *text ? 0 : -ENOMEM;
}

static int take_number(struct cursor *c, void *target)
{
    int64_t value = 0;
    const char *first = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - first < 18; c->at++)
        value = 10 * value + (*c->at - '0');
    *(int64_t *)target = value;
    return c->at > first ? 0 : -EBADMSG;
}

static int take_digests(struct cursor *c, void *target)
{
    char ***list = target;
    const char *close = memchr(c->at, ']', (size_t)(c->end - c->at));
    if (!take(c, '[') || !close || *list)
        return -EBADMSG;
    size_t room = (size_t)(close - c->at) / 73 + 2, n = 0; /* "sha256:" and 64 digits, quoted */
    if (!(*list = calloc(room, sizeof **list)))
        return -ENOMEM;
    while (c->at < close) {
        int r = n + 1 < room ? take_text(c, &(*list)[n]) : -EBADMSG;
        if (r < 0 || !digest_valid((*list)[n++]))
            return r < 0 ? r : -EBADMSG;
        take(c, ',');
    }
    return take(c, ']') ? 0 : -EBADMSG;
}

static const struct { const char *key; size_t offset; int (*take)(struct cursor *, void *); } members[] = {
    {"reference", offsetof(struct record, reference), take_text},
    {"manifest", offsetof(struct record, manifest), take_text},
    {"config", offsetof(struct record, id), take_text},
    {"source", offsetof(struct record, source), take_text},
    {"boot", offsetof(struct record, boot), take_text},
    {"layers", offsetof(struct record, diff_ids), take_digests},
    {"blobs", offsetof(struct record, blobs), take_digests},
    {"architecture", offsetof(struct record, architecture), take_text},
    {"os", offsetof(struct record, os), take_text},
    {"variant", offsetof(struct record, variant), take_text},
    {"created_usec", offsetof(struct record, created_usec), take_number},
    {"size_bytes", offsetof(struct record, size_bytes), take_number},
};

static int take_member(struct cursor *c, struct record *r)
{
    const char *key;
    size_t n, i = 0;
    if (take_string(c, &key, &n) < 0 || !take(c, ':'))
        return -EBADMSG;
    while (i < ARRAY_SIZE(members) && (strlen(members[i].key) != n || memcmp(members[i].key, key, n) != 0))
        i++;
    return i < ARRAY_SIZE(members) ? members[i].take(c, (char *)r + members[i].offset) : -EBADMSG;
}

static int parse_line(const char *line, size_t length, struct record *r)
{
    struct cursor c = {line, line + length};
    int result = take(&c, '{') ? 0 : -EBADMSG;
    while (result == 0 && !take(&c, '}')) {
        result = take_member(&c, r);
        take(&c, ',');
    }
    if (result < 0)
        return result;
    bool whole = c.at == c.end && r->reference && r->manifest && r->id && r->diff_ids && r->blobs && r->architecture && r->os &&
                 r->variant && digest_valid(r->id) && digest_valid(r->manifest);
    return whole ? 0 : -EBADMSG;
}

static int parse_record(const char *data, size_t size, const struct stat *st, struct record *ret, json_t **ret_settings)
{
    const char *newline = memchr(data, '\n', size);
    size_t first = newline ? (size_t)(newline - data) : size;
    struct record record = {.used_usec = st->st_mtim.tv_sec * 1000000ll + st->st_mtim.tv_nsec / 1000};
    int r = parse_line(data, first, &record);
    json_t *settings = r == 0 && ret_settings ? json_loadb(data + first, size - first, 0, NULL) : NULL;
    if (r == 0 && ret_settings && !settings)
        r = -EBADMSG;
    if (r < 0) {
        record_clear(&record);
        return r;
    }
    *ret = record;
    if (ret_settings)
        *ret_settings = settings;
    return 0;
}

int record_read(int images_fd, const char *file, struct record *ret, json_t **ret_settings)
{
    if (images_fd < 0)
        return -ENOENT;
    char path[NAME_MAX + 8];
    snprintf(path, sizeof path, "refs/%s", file);
    autoclose int fd = openat(images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    char small[16384], *data = small;
    autofree char *large = NULL;
    size_t size = 0;
    int r = 0;
    if (st.st_size < (off_t)sizeof small) {
        ssize_t n = RETRY(read(fd, small, sizeof small));
        r = n < 0 ? -errno : 0;
        size = n < 0 ? 0 : (size_t)n;
    } else if ((r = fd_read_all(fd, RECORD_MAX_BYTES, &large, &size)) == 0) {
        data = large;
    }
    if (r == 0)
        r = parse_record(data, size, &st, ret, ret_settings);
    if (r < 0 || !ret->boot || strcmp(ret->boot, boot_id()) == 0)
        return r;
    record_clear(ret);
    if (ret_settings)
        json_decref(TAKE(*ret_settings));
    return -ESTALE;
}

static json_t *digest_list(char *const *digests)
{
    json_t *list = json_array();
    for (size_t i = 0; digests && digests[i]; i++)
        json_array_append_new(list, json_string(digests[i]));
    return list;
}

static char *print_record(const struct record *r, const json_t *settings)
{
    json_t *line = json_pack("{ss ss ss so* so* ss ss ss sI sI}", "reference", r->reference, "manifest",
                             r->manifest, "config", r->id, "layers", digest_list(r->diff_ids), "blobs",
                             digest_list(r->blobs), "architecture", r->architecture ? r->architecture : "",
                             "os", r->os ? r->os : "", "variant", r->variant ? r->variant : "",
                             "created_usec", (json_int_t)r->created_usec, "size_bytes",
                             (json_int_t)r->size_bytes);
    if (line && r->source)
        json_object_set_new(line, "source", json_string(r->source));
    if (line && r->boot)
        json_object_set_new(line, "boot", json_string(r->boot));
    autofree char *first = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (first && strchr(first, '\\')) { /* nothing that it holds needs one: see parse_line() */
        json_decref(line);
        return NULL;
    }
    autofree char *second = json_dumps(settings, JSON_COMPACT);
    json_decref(line);
    return first && second ? format_text("%s\n%s\n", first, second) : NULL;
}

int record_files(int images_fd, char ***ret_files, struct berth_error *err)
{
    autostrings char **files = calloc(1, sizeof *files);
    if (!files)
        return fail_memory(err);
    int fd = images_fd < 0 ? -1 : openat(images_fd, "refs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder && images_fd >= 0 && errno != ENOENT)
        return fail_os(err, errno, "refs", "list images");
    struct dirent *entry;
    int r = 0;
    while (folder && r == 0 && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && ends_with(entry->d_name, SUFFIX))
            r = strings_add(&files, entry->d_name);
    if (folder)
        closedir(folder);
    if (r < 0)
        return fail_memory(err);
    *ret_files = TAKE(files);
    return 0;
}

int record_others(int images_fd, const char *file, const char *id, struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record other = {0};
        if (strcmp(files[i], file) == 0 || record_read(images_fd, files[i], &other, NULL) < 0)
            continue;
        r = strcmp(other.id, id) == 0;
        record_clear(&other);
    }
    return r;
}

/* The image loses this name: unless it has another, it keeps a record without one. */
static int keep_unnamed(int images_fd, const char *file, struct record *r, const json_t *settings,
                        struct berth_error *err)
{
    int other = *r->reference ? record_others(images_fd, file, r->id, err) : 1;
    if (other != 0)
        return MIN(other, 0);
    free(r->reference);
    r->reference = strdup("");
    return r->reference ? record_write(images_fd, r, settings, err) : fail_memory(err);
}

int record_unname(int images_fd, const char *file, bool keep, struct berth_error *err)
{
    struct record r = {0};
    json_t *settings = NULL;
    int result = keep && record_read(images_fd, file, &r, &settings) == 0
               ? keep_unnamed(images_fd, file, &r, settings, err) : 0;
    record_clear(&r);
    json_decref(settings);
    if (result < 0)
        return result;
    autofree char *path = format_text("refs/%s", file);
    if (!path)
        return fail_memory(err);
    return unlinkat(images_fd, path, 0) < 0 && errno != ENOENT ? fail_os(err, errno, file, "remove the image's name") : 0;
}

int record_write(int images_fd, const struct record *r, const json_t *settings, struct berth_error *err)
{
    autofree char *file = record_file(r->reference, r->id), *data = print_record(r, settings);
    autofree char *path = file ? format_text("refs/%s", file) : NULL;
    if (!path || !data)
        return fail_memory(err);
    struct record before = {0};
    if (record_read(images_fd, file, &before, NULL) == 0) {
        bool clash = strcmp(before.reference, r->reference) != 0, same = strcmp(before.id, r->id) == 0;
        record_clear(&before);
        if (clash)
            return fail(err, BERTH_EXISTS, r->reference, "another image's record has the same file name");
        int kept = same ? 0 : record_unname(images_fd, file, true, err);
        if (kept < 0)
            return kept;
    }
    int result = file_write(images_fd, path, data, strlen(data), 0600, r->boot ? 0 : FILE_SYNC);
    if (result < 0)
        return fail_os(err, result, r->reference, "write the image's record");
    if (*r->reference) { /* a name is there: the record by id is not needed */
        autofree char *unnamed = record_file("", r->id);
        autofree char *unnamed_path = unnamed ? format_text("refs/%s", unnamed) : NULL;
        if (unnamed_path)
            unlinkat(images_fd, unnamed_path, 0);
    }
    return 0;
}

int images_open(struct store *store)
{
    int fd = openat(store_root_fd(store), "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int not_found(struct berth_error *err, const char *text)
{
    return fail(err, BERTH_NOT_FOUND, text,
                "no image \"%.200s\" here (berth pull gets it; berth image load and import take files)", text);
}

/* "sha256:HEX...", or HEX..., as given by people: the hex digits, or NULL. */
static const char *id_prefix(const char *text)
{
    const char *hex = starts_with(text, "sha256:") ? text + 7 : text;
    size_t n = strnlen(hex, 65);
    return n >= 4 && n <= 64 && strspn(hex, "0123456789abcdef") == n ? hex : NULL;
}

static int find_by_id(int images_fd, const char *text, const char *prefix, char **ret_file,
                      struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(images_fd, &files, err);
    autofree char *found = NULL, *id = NULL;
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        if (record_read(images_fd, files[i], &one, NULL) < 0)
            continue;
        if (starts_with(one.id + 7, prefix)) {
            if (id && strcmp(id, one.id) != 0)
                r = fail(err, BERTH_INVALID, text, "\"%s\" is the beginning of several images' ids", text);
            if (!id) {
                id = TAKE(one.id);
                found = TAKE(files[i]);
                files[i] = strdup("");
            }
        }
        record_clear(&one);
    }
    if (r < 0)
        return r;
    *ret_file = TAKE(found);
    return 0;
}

static int find_by_name(int images_fd, const struct reference_defaults *defaults, const char *text, char **ret_file,
                        struct record *ret, json_t **ret_settings, struct berth_error *err)
{
    struct reference reference = {0};
    int r = reference_parse(text, defaults, &reference, err);
    if (r < 0)
        return r;
    autofree char *digest = reference.tag ? TAKE(reference.digest) : NULL; /* name:tag@digest: looked at below */
    autofree char *normal = reference_print(&reference);
    reference_clear(&reference);
    autofree char *file = normal ? record_file(normal, "") : NULL;
    if (!file)
        return fail_memory(err);
    struct record record = {0};
    json_t *settings = NULL;
    r = record_read(images_fd, file, &record, ret_settings ? &settings : NULL);
    if (r == -ENOENT || r == -ESTALE)
        return not_found(err, text);
    if (r == -EBADMSG)
        return fail(err, BERTH_CORRUPT, text, "the record of image \"%s\" is damaged", text);
    if (r < 0)
        return fail_os(err, r, text, "read the record of image \"%s\"", text);
    bool other = digest && strcmp(record.manifest, digest) != 0 && (!record.source || strcmp(record.source, digest) != 0);
    if (strcmp(record.reference, normal) != 0 || other) {
        record_clear(&record);
        json_decref(settings);
        return not_found(err, text);
    }
    *ret = record;
    *ret_file = TAKE(file);
    if (ret_settings)
        *ret_settings = settings;
    return 0;
}

int record_find(int images_fd, const struct reference_defaults *defaults, const char *text, char **ret_file, struct record *ret,
                json_t **ret_settings, struct berth_error *err)
{
    const char *prefix = id_prefix(text);
    int r = starts_with(text, "sha256:") ? BERTH_NOT_FOUND
          : find_by_name(images_fd, defaults, text, ret_file, ret, ret_settings, err);
    if (r == 0 || !prefix || (r != BERTH_NOT_FOUND && r != BERTH_INVALID))
        return r == BERTH_NOT_FOUND ? not_found(err, text) : r;
    autofree char *file = NULL;
    r = find_by_id(images_fd, text, prefix, &file, err);
    if (r == 0 && !file)
        r = not_found(err, text);
    if (r < 0)
        return r;
    r = record_read(images_fd, file, ret, ret_settings);
    if (r < 0)
        return fail_os(err, r, text, "read the record of image \"%s\"", text);
    *ret_file = TAKE(file);
    return 0;
}

int images_lock(int images_fd, bool exclusive, bool wait, int *ret_fd, struct berth_error *err)
{
    autoclose int fd = openat(images_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_os(err, errno, "images/lock", "open the lock of the image store");
    struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (RETRY(fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock)) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            return fail(err, BERTH_AGAIN, "images", "images are being added or removed just now");
        return fail_os(err, errno, "images/lock", "lock the image store");
    }
    *ret_fd = take_fd(&fd);
    return 0;
}
