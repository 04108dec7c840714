/* The web page: one HTML file with its style and script in it, compiled into the program. */
#ifndef NANO_SERVER_PAGE_H
#define NANO_SERVER_PAGE_H

#include <stddef.h>

extern const unsigned char nano_page_html[];
extern const size_t nano_page_html_bytes;

#define NANO_PAGE_CONTENT_SECURITY_POLICY "default-src 'none'"

#endif
