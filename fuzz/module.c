/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look at a module's bytes: it ends, and calls nothing a component that does not begin as one.
 */
#include "fuzz.h"
#include "base/file.h"
#include "image/module.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum look look = LOOK_NONE;
    int fd = memfd_create("module", MFD_CLOEXEC);
    MUST(fd >= 0 && fd_write_all(fd, data, size) == 0);
    MUST(module_look(fd, &look) == 0);
    bool binary = size >= 8 && memcmp(data, "\0asm", 4) == 0;
    MUST(binary == (look == LOOK_CORE || look == LOOK_COMPONENT || look == LOOK_HTTP));
    MUST(look != LOOK_HTTP || memmem(data, size, "wasi:http/incoming-handler@0.2.", 31));
    close(fd);
    return 0;
}
