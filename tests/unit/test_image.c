/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images as the library sees them: references, configs, records, what is removed and what stays.
 */
#include "unit.h"
#include "base/file.h"
#include "base/text.h"
#include "image/image.h"
#include "image/record.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define ID_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LAYER_1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define LAYER_2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define BLOB_1 "sha256:3333333333333333333333333333333333333333333333333333333333333333"
#define BLOB_2 "sha256:4444444444444444444444444444444444444444444444444444444444444444"
#define MANIFEST "sha256:5555555555555555555555555555555555555555555555555555555555555555"
#define WORKLOAD "0123456789abcdef0123456789abcdef"

/* ---- references */

static void references_have_one_normal_form(void **state)
{
    static const struct { const char *text, *normal, *familiar; } good[] = {
        {"nginx", "docker.io/library/nginx:latest", "nginx:latest"},
        {"nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"},
        {"library/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
        {"docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
        {"index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"},
        {"me/app", "docker.io/me/app:latest", "me/app:latest"},
        {"docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"},
        {"docker.io/x.io/a", "docker.io/x.io/a:latest", "docker.io/x.io/a:latest"},
        {"localhost/app", "localhost/app:latest", "localhost/app:latest"},
        {"registry.example:5000/a/b:v1", "registry.example:5000/a/b:v1", "registry.example:5000/a/b:v1"},
        {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
        {"a@" ID_A, "docker.io/library/a@" ID_A, "a@" ID_A},
        {"x.io/a:t@" ID_A, "x.io/a:t@" ID_A, "x.io/a:t@" ID_A},
        {"a__b-c--d.e", "docker.io/library/a__b-c--d.e:latest", "a__b-c--d.e:latest"},
        {"Host.example/a", "Host.example/a:latest", "Host.example/a:latest"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct reference r = {0};
        struct berth_error err = {0};
        if (reference_parse(good[i].text, NULL, &r, &err) < 0)
            fail_msg("%s: %s", good[i].text, err.message);
        autofree char *normal = reference_print(&r), *familiar = reference_familiar(&r, NULL);
        assert_string_equal(normal, good[i].normal);
        assert_string_equal(familiar, good[i].familiar);
        reference_clear(&r);
        assert_int_equal(reference_parse(normal, NULL, &r, &err), 0); /* it reads itself */
        autofree char *again = reference_print(&r);
        assert_string_equal(again, normal);
        reference_clear(&r);
    }
}

#define OWN(text) (char[]){text}

static void short_names_mean_what_the_settings_say(void **state)
{
    const struct reference_defaults ours = {OWN("reg.example:5000"), OWN("stable")}, dead = {OWN("index.docker.io"), NULL};
    static const struct { const char *text, *normal, *familiar; } names[] = {
        {"nginx", "reg.example:5000/nginx:stable", "nginx:stable"},
        {"a/b:1", "reg.example:5000/a/b:1", "a/b:1"},
        {"library/nginx", "reg.example:5000/library/nginx:stable", "library/nginx:stable"},
        {"docker.io/nginx", "docker.io/library/nginx:stable", "docker.io/library/nginx:stable"},
        {"x.io/a", "x.io/a:stable", "x.io/a:stable"},
        {"reg.example:5000/x.io/a", "reg.example:5000/x.io/a:stable", "reg.example:5000/x.io/a:stable"},
        {"a@" ID_A, "reg.example:5000/a@" ID_A, "a@" ID_A},
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct reference r = {0}, again = {0};
        assert_int_equal(reference_parse(names[i].text, &ours, &r, NULL), 0);
        autofree char *normal = reference_print(&r), *familiar = reference_familiar(&r, &ours);
        assert_string_equal(normal, names[i].normal);
        assert_string_equal(familiar, names[i].familiar);
        assert_int_equal(reference_parse(familiar, &ours, &again, NULL), 0); /* and it reads itself */
        autofree char *twice = reference_print(&again);
        assert_string_equal(twice, normal);
        reference_clear(&r);
        reference_clear(&again);
    }
    struct reference r = {0};
    assert_int_equal(reference_parse("nginx", &dead, &r, NULL), 0);
    assert_string_equal(r.registry, "docker.io");
    assert_string_equal(r.repository, "library/nginx");
    reference_clear(&r);
}

static void wrong_defaults_are_refused(void **state)
{
    const struct { struct reference_defaults given; const char *object; } wrong[] = {
        {{OWN("nodots"), NULL}, "images.registry"}, {{OWN(""), NULL}, "images.registry"}, {{OWN("a.b/c"), NULL}, "images.registry"},
        {{OWN("https://a.b"), NULL}, "images.registry"}, {{OWN("a.b"), OWN("-x")}, "images.tag"}, {{NULL, OWN("")}, "images.tag"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct berth_error err = {0};
        assert_int_equal(reference_defaults_check(&wrong[i].given, &err), BERTH_INVALID);
        assert_string_equal(err.object, wrong[i].object);
    }
    assert_int_equal(reference_defaults_check(&(struct reference_defaults){OWN("localhost"), OWN("1")}, NULL), 0);
    assert_int_equal(reference_defaults_check(&(struct reference_defaults){0}, NULL), 0);
}

static void what_is_no_reference_is_refused(void **state)
{
    static const char *const bad[] = {
        "", " ", "nginx ", "Nginx", "a/Bc", "../etc/passwd", "a/../b", "/a", "a/", "a//b", ".a", "a.", "a..b", "a___b", "-a",
        "a-_b", "a:", "a:.t", "a:-t", "a:t/b", "a@sha256:00", "a@md5:aa", "a@" ID_A "0", "a\nb", "a b", "ex ample.com/a",
        "example.com:port/a", "example.com:123456/a", "-x.com/a", "x-.com/a", "http://x/a", "a:t:u", "\xc3\xa4", "a;b", "[::1/a",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct reference r = {0};
        struct berth_error err = {0};
        if (reference_parse(bad[i], NULL, &r, &err) != BERTH_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_true(*err.message);
        assert_null(r.repository);
    }
    char long_one[10001];
    memset(long_one, 'a', 10000);
    long_one[10000] = 0;
    struct reference r = {0};
    assert_int_equal(reference_parse(long_one, NULL, &r, NULL), BERTH_INVALID);
    long_one[255 - strlen("docker.io/library/") + 1] = 0;
    assert_int_equal(reference_parse(long_one, NULL, &r, NULL), BERTH_INVALID);
    long_one[255 - strlen("docker.io/library/")] = 0;
    assert_int_equal(reference_parse(long_one, NULL, &r, NULL), 0);
    reference_clear(&r);
}

static void record_files_are_single_names(void **state)
{
    autofree char *a = record_file("docker.io/library/nginx:1", ""), *b = record_file("", ID_A);
    assert_string_equal(a, "docker.io%2flibrary%2fnginx%3a1.json");
    assert_null(strchr(b, '/'));
    char text[600] = "x.io/";
    memset(text + 5, 'a', 400);
    autofree char *c = record_file(text, "");
    text[404] = 'b';
    autofree char *d = record_file(text, "");
    assert_true(strlen(c) < 255);
    assert_string_not_equal(c, d);
}

/* ---- configs */

static void config_is_read_in_full(void **state)
{
    static const char text[] =
        "{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2024-01-02T03:04:05Z\",\"config\":{\"User\":\"www\","
        "\"Env\":[\"A=b\"],\"Cmd\":[\"/bin/x\",\"y\"],\"Entrypoint\":null,\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGQUIT\","
        "\"ExposedPorts\":{\"80/tcp\":{}},\"Volumes\":{\"/v\":{}},\"Labels\":{\"l\":\"m\"},\"Shell\":[\"/bin/bash\"],"
        "\"Healthcheck\":{\"Test\":[\"CMD\",\"true\"],\"Interval\":30000000000,\"Retries\":3},\"Unknown\":7}}";
    struct image_config c = {0};
    struct berth_error err = {0};
    assert_int_equal(image_config_parse(text, sizeof text - 1, &c, &err), 0);
    assert_string_equal(c.user, "www");
    assert_string_equal(c.cmd[1], "y");
    assert_null(c.entrypoint);
    assert_string_equal(c.exposed_ports[0], "80/tcp");
    assert_string_equal(c.volumes[0], "/v");
    assert_string_equal(c.labels[0].value, "m");
    assert_string_equal(c.shell[0], "/bin/bash");
    assert_int_equal(c.health.interval_usec, 30000000);
    assert_int_equal(c.health.retries, 3);
    assert_string_equal(c.stop_signal, "SIGQUIT");
    image_config_clear(&c);
}

static void wrong_configs_name_the_member(void **state)
{
    static const struct { const char *text, *word; } bad[] = {
        {"", "config"}, {"[]", "object"}, {"{", "line"}, {"{\"config\":[]}", "config"}, {"{\"config\":{\"Env\":\"A\"}}", "Env"},
        {"{\"config\":{\"Env\":[1]}}", "Env"}, {"{\"config\":{\"Cmd\":{}}}", "Cmd"}, {"{\"config\":{\"User\":1}}", "User"},
        {"{\"config\":{\"Volumes\":[]}}", "Volumes"}, {"{\"config\":{\"Labels\":{\"a\":1}}}", "Labels"},
        {"{\"config\":{\"Healthcheck\":{\"Interval\":-1}}}", "Healthcheck"}, {"{\"os\":\"a\",\"os\":\"b\"}", "duplicate"},
        {"{\"config\":{\"Healthcheck\":{\"Retries\":99999999999}}}", "Retries"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct image_config c = {0};
        struct berth_error err = {0};
        assert_int_equal(image_config_parse(bad[i].text, strlen(bad[i].text), &c, &err), BERTH_INVALID);
        if (!strstr(err.message, bad[i].word))
            fail_msg("%s: \"%s\" does not say %s", bad[i].text, err.message, bad[i].word);
    }
}

/* ---- the store */

struct place { char folder[64]; struct store *store; int images_fd; };

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    snprintf(p->folder, sizeof p->folder, "/tmp/berth-image.XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    autofree char *run = format_text("%s/run", p->folder), *root = format_text("%s/root", p->folder);
    struct berth_error err = {0};
    if (store_open(root, run, true, &p->store, &err) < 0)
        fail_msg("%s", err.message);
    static const char *const folders[] = {"images", "images/refs", "images/layers", "images/blobs", "images/blobs/sha256", "images/aside"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        mkdirat(store_root_fd(p->store), folders[i], 0700);
    p->images_fd = images_open(p->store);
    assert_true(p->images_fd >= 0);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    struct place *p = *state;
    close(p->images_fd);
    store_close(p->store);
    tree_remove(AT_FDCWD, p->folder);
    free(p);
    return 0;
}

static void touch(const struct place *p, const char *kind, const char *digest)
{
    autofree char *path = format_text("%s/%s", kind, digest + 7), *fs = format_text("%s/%s/fs", kind, digest + 7);
    if (strcmp(kind, "layers") == 0) {
        mkdirat(p->images_fd, path, 0700);
        mkdirat(p->images_fd, fs, 0755);
        return;
    }
    assert_int_equal(file_write(p->images_fd, path, "x", 1, 0600, 0), 0);
}

/* An image of the layers given, with all its parts there. */
static void put(const struct place *p, const char *reference, const char *id, const char *layer, const char *second, const char *blob)
{
    struct record r = {.reference = (char *)reference, .id = (char *)id, .manifest = (char *)MANIFEST, .created_usec = 1, .size_bytes = 9};
    char *diff_ids[] = {(char *)layer, (char *)second, NULL}, *blobs[] = {(char *)blob, NULL};
    r.diff_ids = diff_ids;
    r.blobs = blobs;
    touch(p, "layers", layer);
    if (second)
        touch(p, "layers", second);
    touch(p, "blobs/sha256", blob);
    touch(p, "blobs/sha256", id);
    touch(p, "blobs/sha256", MANIFEST);
    json_t *settings = json_loads("{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"User\":\"www\"}}", 0, NULL);
    struct berth_error err = {0};
    if (record_write(p->images_fd, &r, settings, &err) < 0)
        fail_msg("%s", err.message);
    json_decref(settings);
}

static bool there(const struct place *p, const char *kind, const char *digest)
{
    autofree char *path = format_text("%s/%s", kind, digest + 7);
    return faccessat(p->images_fd, path, F_OK, 0) == 0;
}

static int find(const struct place *p, const char *text, struct image **ret)
{
    struct berth_error err = {0};
    return image_find(p->store, NULL, text, ret, &err);
}

static void found_by_name_id_and_prefix(void **state)
{
    struct place *p = *state;
    put(p, "docker.io/library/a:1", ID_A, LAYER_1, LAYER_2, BLOB_1);
    put(p, "docker.io/library/b:1", ID_B, LAYER_1, NULL, BLOB_1);
    static const char *const names[] = {"a:1", "docker.io/library/a:1", ID_A, "aaaa", "sha256:aaaaaa", "a:1@" MANIFEST};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct image *image = NULL;
        assert_int_equal(find(p, names[i], &image), 0);
        assert_string_equal(image->id, ID_A);
        assert_string_equal(image->reference, "a:1");
        assert_string_equal(image->config.user, "www");
        assert_int_equal(strings_count(image->layers), 2);
        assert_true(ends_with(image->layers[0], "1/fs") && image->layers[0][0] == '/');
        image_free(image);
    }
    static const char *const missing[] = {"a", "a:2", "cccc", "a:1@" ID_A, "aaa"};
    for (size_t i = 0; i < ARRAY_SIZE(missing); i++) {
        struct image *image = NULL;
        assert_int_equal(find(p, missing[i], &image), BERTH_NOT_FOUND);
    }
}

static void a_layer_that_comes_twice_is_mounted_once(void **state)
{
    struct place *p = *state;
    put(p, "x.io/a:1", ID_A, LAYER_1, LAYER_1, BLOB_1);
    struct image *image = NULL;
    assert_int_equal(find(p, "x.io/a:1", &image), 0);
    assert_int_equal(strings_count(image->diff_ids), 2);
    assert_int_equal(strings_count(image->layers), 1);
    image_free(image);
}

static void a_missing_layer_and_a_damaged_record_are_said(void **state)
{
    struct place *p = *state;
    struct image *image = NULL;
    put(p, "x.io/a:1", ID_A, LAYER_1, NULL, BLOB_1);
    assert_int_equal(tree_remove(p->images_fd, "layers/1111111111111111111111111111111111111111111111111111111111111111"), 0);
    assert_int_equal(find(p, "x.io/a:1", &image), BERTH_CORRUPT);
    static const char *const damaged[] = {
        "", "{\n{}", "{}\n{}", "{\"config\":\"../../x\",\"manifest\":\"" MANIFEST "\"}\n{}",
        "{\"reference\":\"x.io/a:1\",\"config\":\"" ID_A "\",\"manifest\":\"" MANIFEST "\",\"layers\":[\"sha256:../..\"]}\n{}"};
    for (size_t i = 0; i < ARRAY_SIZE(damaged); i++) {
        file_write(p->images_fd, "refs/x.io%2fa%3a1.json", damaged[i], strlen(damaged[i]), 0600, 0);
        assert_int_equal(find(p, "x.io/a:1", &image), BERTH_CORRUPT);
    }
    struct image **list = NULL;
    size_t n = 9;
    assert_int_equal(image_list(p->store, NULL, &list, &n, NULL), 0);
    assert_int_equal(n, 0);
    free(list);
    assert_int_equal(image_collect(p->store, false, true, NULL, NULL), BERTH_CORRUPT); /* what it needs is not known */
    assert_true(there(p, "blobs/sha256", BLOB_1));
}

static size_t count(const struct place *p)
{
    struct image **list = NULL;
    size_t n = 0;
    assert_int_equal(image_list(p->store, NULL, &list, &n, NULL), 0);
    for (size_t i = 0; i < n; i++)
        image_free(list[i]);
    free(list);
    return n;
}

static void a_name_taken_over_leaves_the_old_image_without_one(void **state)
{
    struct place *p = *state;
    put(p, "docker.io/library/a:1", ID_A, LAYER_1, NULL, BLOB_1);
    put(p, "docker.io/library/a:1", ID_B, LAYER_2, NULL, BLOB_2);
    assert_int_equal(count(p), 2);
    struct image *image = NULL;
    assert_int_equal(find(p, "aaaa", &image), 0);
    assert_string_equal(image->reference, "");
    image_free(image);
    assert_int_equal(image_collect(p->store, false, false, NULL, NULL), 0);
    assert_int_equal(count(p), 2);
    assert_int_equal(image_collect(p->store, true, false, NULL, NULL), 0);
    assert_int_equal(count(p), 1);
    assert_false(there(p, "layers", LAYER_1));
    assert_false(there(p, "blobs/sha256", BLOB_1));
    assert_true(there(p, "layers", LAYER_2));
}

/* Of when it was used last: seconds ago. */
static void used(const struct place *p, const char *reference, time_t seconds)
{
    autofree char *file = record_file(reference, ""), *path = format_text("refs/%s", file);
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    assert_int_equal(utimensat(p->images_fd, path, times, 0), 0);
}

/* A file system that is used at all is full to 1 percent, and never down to 0: all goes that may. */
static void a_full_disk_loses_the_longest_unused_first(void **state)
{
    struct place *p = *state;
    autofree char *events = NULL;
    struct image *image = NULL;
    put(p, "docker.io/library/a:1", ID_A, LAYER_1, NULL, BLOB_1);
    put(p, "docker.io/library/b:1", ID_B, LAYER_1, LAYER_2, BLOB_2);
    put(p, "docker.io/library/c:1", "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", LAYER_2, NULL, BLOB_2);
    put(p, "docker.io/library/d:1", "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd", LAYER_2, NULL, BLOB_2);
    used(p, "docker.io/library/a:1", 10);
    used(p, "docker.io/library/b:1", 30);
    mkdirat(store_root_fd(p->store), "workloads", 0700);
    mkdirat(store_root_fd(p->store), "workloads/" WORKLOAD, 0700);
    assert_int_equal(find(p, "c:1", &image), 0);
    assert_int_equal(image_use(p->store, image, WORKLOAD, NULL), 0);
    image_free(image);
    used(p, "docker.io/library/c:1", 50);
    used(p, "docker.io/library/d:1", 40);
    struct work w = {.store = p->store, .images_fd = p->images_fd, .reference = "docker.io/library/d:1"};
    gc_run(&w, 0, 0);
    assert_int_equal(count(p), 4);
    gc_run(&w, 1, 0);
    assert_int_equal(count(p), 2); /* one has a workload, the other was pulled just now */
    assert_false(there(p, "layers", LAYER_1));
    assert_true(there(p, "layers", LAYER_2));
    assert_int_equal(file_read(store_root_fd(p->store), "events/log", 1u << 16, &events, NULL), 0);
    const char *first = strstr(events, "library/b:1"), *second = strstr(events, "library/a:1");
    assert_true(first && second && first < second);
}

static void tag_and_untag(void **state)
{
    struct place *p = *state;
    put(p, "docker.io/library/a:1", ID_A, LAYER_1, NULL, BLOB_1);
    assert_int_equal(image_tag(p->store, NULL, "a:1", "other/b", NULL), 0);
    assert_int_equal(count(p), 2);
    assert_int_equal(image_tag(p->store, NULL, "nothere", "other/c", NULL), BERTH_NOT_FOUND);
    assert_int_equal(image_tag(p->store, NULL, "a:1", "Bad", NULL), BERTH_INVALID);
    assert_int_equal(image_tag(p->store, NULL, "a:1", "c@" ID_A, NULL), BERTH_INVALID);
    assert_int_equal(image_untag(p->store, NULL, "a:1", false, NULL), 0);
    assert_int_equal(image_untag(p->store, NULL, "a:1", false, NULL), BERTH_NOT_FOUND);
    assert_int_equal(image_collect(p->store, false, false, NULL, NULL), 0);
    assert_true(there(p, "layers", LAYER_1));
    assert_int_equal(image_untag(p->store, NULL, "other/b", false, NULL), 0);
    assert_int_equal(count(p), 0);
    assert_int_equal(image_collect(p->store, false, false, NULL, NULL), 0);
    assert_false(there(p, "layers", LAYER_1));
}

static void what_a_workload_uses_stays(void **state)
{
    struct place *p = *state;
    struct image *image = NULL;
    put(p, "docker.io/library/a:1", ID_A, LAYER_1, NULL, BLOB_1);
    assert_int_equal(find(p, "a:1", &image), 0);
    mkdirat(store_root_fd(p->store), "workloads/" WORKLOAD, 0700);
    assert_int_equal(image_use(p->store, image, WORKLOAD, NULL), 0);
    assert_int_equal(image_use(p->store, image, WORKLOAD, NULL), 0); /* again is no harm */
    assert_int_equal(image_untag(p->store, NULL, "a:1", false, NULL), BERTH_WRONG_STATE);
    assert_int_equal(image_untag(p->store, NULL, "a:1", true, NULL), 0);
    assert_int_equal(image_collect(p->store, true, true, NULL, NULL), 0);
    assert_true(there(p, "layers", LAYER_1));
    assert_int_equal(count(p), 1);
    assert_int_equal(lease_release_all(p->store, WORKLOAD), 0);
    assert_int_equal(image_collect(p->store, true, false, NULL, NULL), 0);
    assert_false(there(p, "layers", LAYER_1));
    assert_int_equal(image_use(p->store, image, WORKLOAD, NULL), BERTH_NOT_FOUND); /* it went meanwhile */
    image_free(image);
}

static void the_collector_waits_for_nobody_and_takes_nothing_of_a_maker(void **state)
{
    struct place *p = *state;
    int lock_fd = -1;
    touch(p, "layers", LAYER_1);
    assert_int_equal(images_lock(p->images_fd, false, true, &lock_fd, NULL), 0);
    assert_int_equal(image_collect(p->store, false, false, NULL, NULL), BERTH_AGAIN);
    assert_true(there(p, "layers", LAYER_1));
    close(lock_fd);
    assert_int_equal(image_collect(p->store, false, false, NULL, NULL), 0);
    assert_false(there(p, "layers", LAYER_1));
}

static void an_empty_root_has_no_images(void **state)
{
    struct place *p = *state;
    struct image *image = NULL;
    assert_int_equal(tree_remove(store_root_fd(p->store), "images"), 0);
    assert_int_equal(count(p), 0);
    assert_int_equal(find(p, "a", &image), BERTH_NOT_FOUND);
    assert_int_equal(image_untag(p->store, NULL, "a", false, NULL), BERTH_NOT_FOUND);
    assert_int_equal(image_collect(p->store, true, true, NULL, NULL), 0);
}

static void inspect_says_all(void **state)
{
    struct place *p = *state;
    put(p, "docker.io/library/a:1", ID_A, LAYER_1, NULL, BLOB_1);
    assert_int_equal(image_tag(p->store, NULL, "a:1", "b:2", NULL), 0);
    autofree char *text = NULL;
    assert_int_equal(image_inspect(p->store, NULL, "a:1", &text, NULL), 0);
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    assert_string_equal(json_string_value(json_object_get(document, "id")), ID_A);
    assert_int_equal(json_array_size(json_object_get(document, "references")), 2);
    assert_int_equal(json_array_size(json_object_get(document, "layers")), 1);
    json_decref(document);
}

#define PLACED(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_have_one_normal_form),
        cmocka_unit_test(short_names_mean_what_the_settings_say),
        cmocka_unit_test(wrong_defaults_are_refused), cmocka_unit_test(what_is_no_reference_is_refused),
        cmocka_unit_test(record_files_are_single_names),
        cmocka_unit_test(config_is_read_in_full),
        cmocka_unit_test(wrong_configs_name_the_member),
        PLACED(found_by_name_id_and_prefix),
        PLACED(a_layer_that_comes_twice_is_mounted_once),
        PLACED(a_missing_layer_and_a_damaged_record_are_said),
        PLACED(a_name_taken_over_leaves_the_old_image_without_one),
        PLACED(a_full_disk_loses_the_longest_unused_first), PLACED(tag_and_untag),
        PLACED(what_a_workload_uses_stays),
        PLACED(the_collector_waits_for_nobody_and_takes_nothing_of_a_maker),
        PLACED(an_empty_root_has_no_images),
        PLACED(inspect_says_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
