/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of berth-contract.
 */
#include "harness.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const struct option options[] = {
    {"engine", required_argument, NULL, 'e'},
    {"daemon", required_argument, NULL, 'd'},
    {"like", required_argument, NULL, 'K'},
    {"image", required_argument, NULL, 'i'},
    {"rootfs", required_argument, NULL, 'f'},
    {"network", required_argument, NULL, 'n'},
    {"root", required_argument, NULL, 'r'},
    {"run", required_argument, NULL, 'u'},
    {"filter", required_argument, NULL, 'F'},
    {"jobs", required_argument, NULL, 'j'},
    {"timeout", required_argument, NULL, 't'},
    {"unsupported", required_argument, NULL, 'U'},
    {"load", required_argument, NULL, 'L'},
    {"plain", required_argument, NULL, 'P'},
    {"steps", no_argument, NULL, 's'},
    {"list", no_argument, NULL, 'l'},
    {"table", no_argument, NULL, 'T'},
    {"long", no_argument, NULL, 'x'},
    {"keep", no_argument, NULL, 'k'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "Usage: berth-contract --engine NAME [options]\n"
    "\n"
    "Runs every case of the contract against an engine; 0 when all passed.\n"
    "\n"
    "  --engine NAME        container, fake, or any registered engine; trace(NAME), fault(NAME)\n"
    "  --daemon NAME        what is behind the engine docker: dockerd or podman\n"
    "  --like NAME          it stands for that engine: its programs, and what may be unsupported\n"
    "  --image REF          image of the programs inside (default: made of busybox)\n"
    "  --rootfs PATH        folder or tar of which that image is made\n"
    "  --network NAME       none (default) or host\n"
    "  --root DIR           where state is kept (default: a new folder)\n"
    "  --run DIR            where state of this boot is kept\n"
    "  --filter GLOB        only cases whose name or GROUP/NAME fits\n"
    "  --list               print the cases' names\n"
    "  --table              print what may be unsupported, with reasons\n"
    "  --unsupported FILE   more rows for that table: GLOB REASON, one a line\n"
    "  --load FILE          a shared object that exports or registers an engine\n"
    "  --plain NAME         it has no images: what its specs say instead. Cases that need one ask for one,\n"
    "                       and \"(image) REASON\" in that file says why they hear UNSUPPORTED\n"
    "  --steps              the engine's programs are fake.h's steps\n"
    "  --jobs N             cases at once (default 1)\n"
    "  --timeout SECONDS    for each case (default 30)\n"
    "  --long               larger counts\n"
    "  --keep               leave the folders in place\n"
    "  --verbose            let the cases print\n"
    "\n"
    "Examples:\n"
    "  berth-contract --engine fake\n"
    "  berth-contract --engine container --filter 'stop/*'\n";

static _Noreturn void refuse(const char *what)
{
    fprintf(stderr, "berth-contract: %s (--help tells more)\n", what);
    exit(2);
}

static void set_text(struct settings *s, int option)
{
    const char **const places[] = {
        ['e'] = &s->opens,  ['d'] = &s->daemon,  ['i'] = &s->image,       ['f'] = &s->rootfs,
        ['n'] = &s->network, ['r'] = &s->root,        ['u'] = &s->run,
        ['F'] = &s->filter,  ['U'] = &s->unsupported, ['L'] = &s->plugin,
        ['P'] = &s->plain,  ['K'] = &s->like,
    };
    if ((size_t)option < sizeof(places) / sizeof(places[0]) && places[option])
        *places[option] = optarg;
}

static void set_rest(struct settings *s, int option)
{
    switch (option) {
    case 'j':
        s->jobs = atoi(optarg);
        break;
    case 't':
        s->timeout_sec = atoi(optarg);
        break;
    case 's':
        s->steps = true;
        break;
    case 'l':
        s->list = true;
        break;
    case 'T':
        s->table = true;
        break;
    case 'x':
        s->long_run = true;
        break;
    case 'k':
        s->keep = true;
        break;
    case 'v':
        s->verbose = true;
        break;
    default:
        set_text(s, option);
    }
}

/** "fake" of "trace(fault(fake))". */
static const char *innermost(const char *written)
{
    const char *begin = strrchr(written, '(');
    return begin ? print_text("%.*s", (int)strcspn(begin + 1, ")"), begin + 1) : written;
}

void settings_read(struct settings *s, int argc, char **argv)
{
    *s = (struct settings){.network = "none", .jobs = 1, .timeout_sec = 30};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (option == '?')
            exit(2);
        set_rest(s, option);
    }
    if (optind < argc)
        refuse("it takes no arguments, only options");
    if (s->jobs < 1 || s->jobs > 64 || s->timeout_sec < 1)
        refuse("--jobs is 1 to 64, --timeout at least 1");
    if (!s->opens && !s->list && !s->table)
        refuse("--engine is missing");
    s->engine = innermost(s->opens ? s->opens : "");
    if (!s->like)
        s->like = s->engine;
    if (strcmp(s->like, "fake") == 0 || strcmp(s->like, "wasm") == 0)
        s->steps = true;
}
