#include "server/page.h"
const unsigned char nano_page_html[]="<p>";
const size_t nano_page_html_bytes=3;
