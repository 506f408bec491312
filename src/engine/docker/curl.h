/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl, opened by its name when the first daemon is spoken to: who never uses this engine does not
 * load libcurl and the thirty libraries below it.
 */
#ifndef DOCKER_CURL_H
#define DOCKER_CURL_H

#include "base/error.h"
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

#define CURL_FUNCTIONS(X)                                                                                       \
    X(curl_global_init) X(curl_easy_init) X(curl_easy_cleanup) X(curl_easy_setopt) X(curl_easy_getinfo)         \
    X(curl_easy_perform) X(curl_easy_strerror) X(curl_easy_recv) X(curl_easy_send) X(curl_slist_append)         \
    X(curl_slist_free_all) X(curl_multi_init) X(curl_multi_cleanup) X(curl_multi_setopt)                        \
    X(curl_multi_add_handle) X(curl_multi_remove_handle) X(curl_multi_socket_action) X(curl_multi_info_read)    \
    X(curl_multi_assign)

#define CURL_MEMBER(f) __typeof__(f) *f##_;
struct libcurl { CURL_FUNCTIONS(CURL_MEMBER) };
#undef CURL_MEMBER
extern struct libcurl docker_libcurl;

/** Load it, once for the process; may be called by many threads. NOT_FOUND says which package has it. */
int docker_curl_load(struct berth_error *err);

#define curl_global_init docker_libcurl.curl_global_init_
#define curl_easy_init docker_libcurl.curl_easy_init_
#define curl_easy_cleanup docker_libcurl.curl_easy_cleanup_
#define curl_easy_setopt docker_libcurl.curl_easy_setopt_
#define curl_easy_getinfo docker_libcurl.curl_easy_getinfo_
#define curl_easy_perform docker_libcurl.curl_easy_perform_
#define curl_easy_strerror docker_libcurl.curl_easy_strerror_
#define curl_easy_recv docker_libcurl.curl_easy_recv_
#define curl_easy_send docker_libcurl.curl_easy_send_
#define curl_slist_append docker_libcurl.curl_slist_append_
#define curl_slist_free_all docker_libcurl.curl_slist_free_all_
#define curl_multi_init docker_libcurl.curl_multi_init_
#define curl_multi_cleanup docker_libcurl.curl_multi_cleanup_
#define curl_multi_setopt docker_libcurl.curl_multi_setopt_
#define curl_multi_add_handle docker_libcurl.curl_multi_add_handle_
#define curl_multi_remove_handle docker_libcurl.curl_multi_remove_handle_
#define curl_multi_socket_action docker_libcurl.curl_multi_socket_action_
#define curl_multi_info_read docker_libcurl.curl_multi_info_read_
#define curl_multi_assign docker_libcurl.curl_multi_assign_

#endif
