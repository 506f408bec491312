/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a source is believed to be, and who we are there.
 *
 * libcurl reads CAs that it gets as text anew for every connection, and a machine has some hundred of them:
 * they are read once for a source, and every connection gets the same store.
 */
#include "image/tool/registry_inside.h"
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

static void blob_option(CURL *easy, CURLoption option, const char *pem)
{
    struct curl_blob blob = {.data = (void *)(uintptr_t)pem, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY};
    curl_easy_setopt(easy, option, &blob);
}

static int add_all(X509_STORE *store, STACK_OF(X509_INFO) *all)
{
    int n = 0;
    for (int i = 0; i < sk_X509_INFO_num(all); i++) {
        X509_INFO *one = sk_X509_INFO_value(all, i);
        n += one->x509 && X509_STORE_add_cert(store, one->x509);
        if (one->crl)
            X509_STORE_add_crl(store, one->crl);
    }
    return n;
}

/* NULL when there is none in it: then libcurl is left to say so. */
static X509_STORE *read_store(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    STACK_OF(X509_INFO) *all = bio ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
    X509_STORE *store = all ? X509_STORE_new() : NULL;
    if (store && add_all(store, all) == 0) {
        X509_STORE_free(store);
        store = NULL;
    }
    if (store) /* as libcurl does: a CA in the middle is enough */
        X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    BIO_free(bio);
    return store;
}

static CURLcode give_store(CURL *easy, void *context, void *data)
{
    (void)easy;
    curl_set_store(context, data);
    return CURLE_OK;
}

static bool share_store(CURL *easy, struct source *s, const char *ca)
{
    if (!s->trusted && curl_set_store)
        s->trusted = read_store(ca);
    /* libcurl's own cache goes by the names of files, of which we give none: it would hand one source's store to another. */
    return s->trusted && curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, give_store) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, s->trusted) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK && curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
}

void tls_set(CURL *easy, const struct registry *r, struct source *s, bool own)
{
    const char *ca = s->ca ? s->ca : r->ca;
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (s->unverified) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (ca && !share_store(easy, s, ca))
        blob_option(easy, CURLOPT_CAINFO_BLOB, ca);
    if (!own && s->ca) { /* libcurl does not see which store a connection or session was made with: no other source may get it */
        curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
    if (own && s->certificate && s->key) {
        blob_option(easy, CURLOPT_SSLCERT_BLOB, s->certificate);
        blob_option(easy, CURLOPT_SSLKEY_BLOB, s->key);
    }
}

void tls_clear(struct source *s)
{
    X509_STORE_free(s->trusted);
    s->trusted = NULL;
}
