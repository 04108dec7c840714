/* The service manager: systemd's notification protocol (sd_notify(3)). */
#ifndef NANO_SERVER_NOTIFY_H
#define NANO_SERVER_NOTIFY_H

/* Sends a state such as "READY=1" to the socket that $NOTIFY_SOCKET names; nothing without one. */
void nano_notify(const char *state);

#endif
