/* nano_set_log, apart from log.c: a program that takes log.c from src/base must not take this one with
 * it, since it would set the program's copy instead of the library's. */
#include "base/log.h"

void nano_set_log(nano_log_fn fn, void *user_data)
{
    nano_log_to(fn, user_data);
}
