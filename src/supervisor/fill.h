/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume filled from the image at its first use, once, whole, whoever starts at the same time.
 *
 * VOLUME/filled beside VOLUME/data says how far that got: absent, "filling", "done".
 */
#ifndef SUPERVISOR_FILL_H
#define SUPERVISOR_FILL_H

/** `data_path`: the volume's data folder. *ret_fd is the locked marker, or -1 when it was done
 * before. -errno. */
int fill_begin(const char *data_path, int *ret_fd);
/** Copy what image_fd holds (O_PATH, a folder of the image) into volume_fd, unless there are files
 * in it already. */
int fill_volume(int image_fd, int volume_fd, int marker_fd);

#endif
