/* strftime in English, whatever the process's locale, for a time without a zone. */
#include <string.h>

#include "chat/jinja.h"

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};

static void format(struct nano_jinja *j, const char *s, size_t num_bytes);

static void number(struct nano_jinja *j, int value, int width, char pad, char flag)
{
    if (flag == '-')
        width = 0;
    else if (flag == '_')
        pad = ' ';
    else if (flag == '0')
        pad = '0';
    nano_jinja_printf(j, pad == '0' ? "%0*d" : "%*d", width, value);
}

/* The week of ISO 8601, and the year it belongs to. */
static int iso_week(const struct tm *t, int *year)
{
    int monday = (t->tm_wday + 6) % 7, week = (t->tm_yday - monday + 10) / 7;
    *year = t->tm_year + 1900;
    if (week < 1) {
        --*year;
        bool leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;
        return (t->tm_yday + (leap ? 366 : 365) - monday + 10) / 7;
    }
    bool leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;
    if (week == 53 && t->tm_yday - monday + 3 >= (leap ? 366 : 365)) {
        ++*year;
        return 1;
    }
    return week;
}

static void conversion(struct nano_jinja *j, char c, char flag)
{
    const struct tm *t = &j->now;
    int hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12, year;
    switch (c) {
    case 'a':
        nano_jinja_printf(j, "%.3s", days[t->tm_wday]);
        break;
    case 'A':
        nano_jinja_printf(j, "%s", days[t->tm_wday]);
        break;
    case 'b':
    case 'h':
        nano_jinja_printf(j, "%.3s", months[t->tm_mon]);
        break;
    case 'B':
        nano_jinja_printf(j, "%s", months[t->tm_mon]);
        break;
    case 'c':
        format(j, "%a %b %e %H:%M:%S %Y", 20);
        break;
    case 'C':
        number(j, (t->tm_year + 1900) / 100, 2, '0', flag);
        break;
    case 'd':
        number(j, t->tm_mday, 2, '0', flag);
        break;
    case 'e':
        number(j, t->tm_mday, 2, ' ', flag);
        break;
    case 'D':
    case 'x':
        format(j, "%m/%d/%y", 8);
        break;
    case 'f':
        nano_jinja_write(j, "000000", 6);
        break;
    case 'F':
        format(j, "%Y-%m-%d", 8);
        break;
    case 'g':
        iso_week(t, &year);
        number(j, year % 100, 2, '0', flag);
        break;
    case 'G':
        iso_week(t, &year);
        number(j, year, 4, '0', flag);
        break;
    case 'H':
        number(j, t->tm_hour, 2, '0', flag);
        break;
    case 'I':
        number(j, hour12, 2, '0', flag);
        break;
    case 'j':
        number(j, t->tm_yday + 1, 3, '0', flag);
        break;
    case 'k':
        number(j, t->tm_hour, 2, ' ', flag);
        break;
    case 'l':
        number(j, hour12, 2, ' ', flag);
        break;
    case 'm':
        number(j, t->tm_mon + 1, 2, '0', flag);
        break;
    case 'M':
        number(j, t->tm_min, 2, '0', flag);
        break;
    case 'n':
        nano_jinja_write(j, "\n", 1);
        break;
    case 'p':
        nano_jinja_write(j, t->tm_hour < 12 ? "AM" : "PM", 2);
        break;
    case 'P':
        nano_jinja_write(j, t->tm_hour < 12 ? "am" : "pm", 2);
        break;
    case 'r':
        format(j, "%I:%M:%S %p", 11);
        break;
    case 'R':
        format(j, "%H:%M", 5);
        break;
    case 'S':
        number(j, t->tm_sec, 2, '0', flag);
        break;
    case 't':
        nano_jinja_write(j, "\t", 1);
        break;
    case 'T':
    case 'X':
        format(j, "%H:%M:%S", 8);
        break;
    case 'u':
        number(j, t->tm_wday ? t->tm_wday : 7, 1, '0', flag);
        break;
    case 'U':
        number(j, (t->tm_yday + 7 - t->tm_wday) / 7, 2, '0', flag);
        break;
    case 'V':
        number(j, iso_week(t, &year), 2, '0', flag);
        break;
    case 'w':
        number(j, t->tm_wday, 1, '0', flag);
        break;
    case 'W':
        number(j, (t->tm_yday + 7 - (t->tm_wday + 6) % 7) / 7, 2, '0', flag);
        break;
    case 'y':
        number(j, (t->tm_year + 1900) % 100, 2, '0', flag);
        break;
    case 'Y':
        number(j, t->tm_year + 1900, 4, '0', flag);
        break;
    case 'z':
    case 'Z':
        break;
    case '%':
        nano_jinja_write(j, "%", 1);
        break;
    default:
        nano_jinja_write(j, "%", 1);
        if (flag)
            nano_jinja_write(j, &flag, 1);
        nano_jinja_write(j, &c, 1);
    }
}

static void format(struct nano_jinja *j, const char *s, size_t num_bytes)
{
    for (size_t i = 0; i < num_bytes; i++) {
        char flag = '\0';
        if (s[i] != '%' || i + 1 == num_bytes) {
            nano_jinja_write(j, s + i, 1);
            continue;
        }
        if (i + 2 < num_bytes && (s[i + 1] == '-' || s[i + 1] == '_' || s[i + 1] == '0'))
            flag = s[++i];
        conversion(j, s[++i], flag);
    }
}

struct nano_value nano_jinja_strftime(struct nano_jinja *j, const struct nano_str *str)
{
    size_t from = j->out_bytes;
    format(j, str->s, str->num_bytes);
    return nano_jinja_take(j, from);
}
