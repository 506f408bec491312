/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a redirect leads, and whether it may.
 *
 * libcurl follows none: its idea of "the same host" would be one more thing to trust with credentials.
 */
#include "image/tool/registry_inside.h"
#include <string.h>
#include <strings.h>

static char *part(CURLU *u, CURLUPart which)
{
    char *text = NULL;
    return curl_url_get(u, which, &text, which == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) == CURLUE_OK ? text : NULL;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart which)
{
    char *x = part(a, which), *y = part(b, which);
    bool same = x && y && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return same;
}

static bool same_place(CURLU *a, CURLU *b)
{
    return same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) && same_part(a, b, CURLUPART_PORT);
}

/* `location` as seen from `from`, without what is not sent on. */
static bool resolve(CURLU *to, const char *from, const char *location)
{
    return curl_url_set(to, CURLUPART_URL, from, 0) == CURLUE_OK && curl_url_set(to, CURLUPART_URL, location, 0) == CURLUE_OK &&
           curl_url_set(to, CURLUPART_USER, NULL, 0) == CURLUE_OK && curl_url_set(to, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
           curl_url_set(to, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK;
}

static int check_scheme(CURLU *to, const char *from, const char *location, struct berth_error *err)
{
    char *scheme = part(to, CURLUPART_SCHEME);
    bool plain = scheme && strcasecmp(scheme, "http") == 0, secure = scheme && strcasecmp(scheme, "https") == 0;
    curl_free(scheme);
    if (!plain && !secure)
        return fail(err, BERTH_CORRUPT, from, "it redirects to \"%.200s\", which is not http or https", location);
    if (plain && strncasecmp(from, "https:", 6) == 0)
        return fail(err, BERTH_DENIED, from, "it redirects from https to http (%.200s), which is refused", location);
    return 0;
}

int redirect_follow(const char *from, const char *location, const char *own, char **ret_url, bool *ret_away, struct berth_error *err)
{
    CURLU *to = curl_url(), *home = curl_url();
    int code = to && home ? 0 : fail_memory(err);
    if (code == 0 && (curl_url_set(home, CURLUPART_URL, own, 0) != CURLUE_OK || !resolve(to, from, location)))
        code = fail(err, BERTH_CORRUPT, from, "it redirects to \"%.200s\", which is no address", location);
    if (code == 0)
        code = check_scheme(to, from, location, err);
    if (code == 0) {
        char *text = part(to, CURLUPART_URL);
        *ret_away = !same_place(to, home);
        *ret_url = text ? strdup(text) : NULL;
        curl_free(text);
        code = *ret_url ? 0 : fail_memory(err);
    }
    curl_url_cleanup(to);
    curl_url_cleanup(home);
    return code;
}
