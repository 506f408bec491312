/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A C program as a guest, of preview 1 or as a component: it sorts the lines of a folder's files into another file, and
 * what it finds on the way are directories, sizes, times, standard input and a clock.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static char *lines[10000];
static size_t n_lines;

static void read_lines(FILE *f)
{
    static char line[4096];
    while (f && fgets(line, sizeof(line), f) && n_lines < 10000)
        lines[n_lines++] = strdup(line);
}

static void read_folder(const char *path)
{
    DIR *d = opendir(path);
    char name[1024];
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (stat(name, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        FILE *f = fopen(name, "r");
        read_lines(f);
        fclose(f);
    }
    if (d)
        closedir(d);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    struct timespec now;
    if (argc != 3)
        return 2;
    read_folder(argv[1]);
    read_lines(stdin);
    qsort(lines, n_lines, sizeof(*lines), by_text);
    FILE *out = fopen(argv[2], "w");
    if (!out)
        return 3;
    for (size_t i = 0; i < n_lines; i++)
        fputs(lines[i], out);
    if (fclose(out) != 0 || clock_gettime(CLOCK_REALTIME, &now) < 0 || now.tv_sec < 1700000000)
        return 4;
    printf("%zu lines\n", n_lines);
    return 0;
}
