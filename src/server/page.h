/* The web page: src/server/web/index.html with its style and script in it, compiled into the program
 * by src/server/web/embed.sh. It loads nothing else and calls only the server it came from. */
#ifndef NANO_SERVER_PAGE_H
#define NANO_SERVER_PAGE_H

#include <stddef.h>

extern const unsigned char nano_page_html[];
extern const size_t nano_page_html_bytes;

/* To be sent with the page as Content-Security-Policy. Style and script are allowed by the hash of
 * their text and nothing else is: no other script however it gets into the page, no handler in an
 * attribute, no image (data: is the page's icon), no frame, no form, no other server. Trusted types
 * keep the page's own script from giving text to a parser of HTML. The page never changes while a
 * server runs, so hashes are as strict as nonces and need no random number per answer; they are not
 * computed by the build because POSIX has no SHA-256. After a change of the page tests/check_page.sh
 * prints the new ones. */
#define NANO_PAGE_CONTENT_SECURITY_POLICY                                                          \
    "default-src 'none'; connect-src 'self'; img-src data:; "                                      \
    "script-src 'sha256-R1ODR9WmcQVmvQa5VYyd5j3Tmu/kR1WL5fgT+0cMtAw='; "                           \
    "style-src 'sha256-W3VZcyfVfUUzRSmu7BMtcGrt9cXcOofAca9i6zXeHLo='; "                            \
    "require-trusted-types-for 'script'; trusted-types 'none'; "                                   \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#endif
