/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl, loaded when a registry is spoken to: with the thirty libraries below it, it would cost every
 * start of berth-image (diff, export, copy) some ten milliseconds.
 */
#ifndef TOOL_REGISTRY_CURL_H
#define TOOL_REGISTRY_CURL_H

#include "base/error.h"
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

#define CURL_FUNCTIONS(X)                                                                                          \
    X(curl_global_init) X(curl_free) X(curl_easy_init) X(curl_easy_cleanup) X(curl_easy_setopt) X(curl_easy_getinfo) \
    X(curl_easy_escape) X(curl_easy_strerror) X(curl_slist_append)           \
    X(curl_slist_free_all) X(curl_multi_init) X(curl_multi_cleanup) X(curl_multi_setopt) X(curl_multi_add_handle)    \
    X(curl_multi_remove_handle) X(curl_multi_perform) X(curl_multi_poll) X(curl_multi_info_read)                     \
    X(curl_multi_strerror) X(curl_url) X(curl_url_cleanup) X(curl_url_get) X(curl_url_set)

#define CURL_MEMBER(f) __typeof__(f) *f##_;
struct libcurl { CURL_FUNCTIONS(CURL_MEMBER) };
#undef CURL_MEMBER
extern struct libcurl libcurl;

struct ssl_ctx_st;
struct x509_store_st;
/** SSL_CTX_set1_cert_store(3) of the OpenSSL below libcurl; NULL when it stands on another, or on another copy than we. */
extern void (*curl_set_store)(struct ssl_ctx_st *context, struct x509_store_st *store);

/** Load it, once, before any jail. NOT_FOUND says which package has it. */
int curl_load(struct berth_error *err);

#define curl_global_init libcurl.curl_global_init_
#define curl_free libcurl.curl_free_
#define curl_easy_init libcurl.curl_easy_init_
#define curl_easy_cleanup libcurl.curl_easy_cleanup_
#define curl_easy_setopt libcurl.curl_easy_setopt_
#define curl_easy_getinfo libcurl.curl_easy_getinfo_
#define curl_easy_escape libcurl.curl_easy_escape_
#define curl_easy_strerror libcurl.curl_easy_strerror_
#define curl_slist_append libcurl.curl_slist_append_
#define curl_slist_free_all libcurl.curl_slist_free_all_
#define curl_multi_init libcurl.curl_multi_init_
#define curl_multi_cleanup libcurl.curl_multi_cleanup_
#define curl_multi_setopt libcurl.curl_multi_setopt_
#define curl_multi_add_handle libcurl.curl_multi_add_handle_
#define curl_multi_remove_handle libcurl.curl_multi_remove_handle_
#define curl_multi_perform libcurl.curl_multi_perform_
#define curl_multi_poll libcurl.curl_multi_poll_
#define curl_multi_info_read libcurl.curl_multi_info_read_
#define curl_multi_strerror libcurl.curl_multi_strerror_
#define curl_url libcurl.curl_url_
#define curl_url_cleanup libcurl.curl_url_cleanup_
#define curl_url_get libcurl.curl_url_get_
#define curl_url_set libcurl.curl_url_set_

#endif
