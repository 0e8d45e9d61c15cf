/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * bulkheadctl: what a partition of the Bulkhead hypervisor may know and control,
 * by way of bulkhead.ko's /dev/bulkhead/control.
 *
 * Exit status: 0 done, 1 refused or failed (the reason is on standard error),
 * 2 usage.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bulkhead.h"
#include "bulkhead_abi.h"

#define CONTROL_DEVICE "/dev/bulkhead/control"

static const char USAGE[] =
	"usage: bulkheadctl status             this partition, its ports, partitions it controls\n"
	"       bulkheadctl port NAME          one port, as key=value pairs on one line\n"
	"       bulkheadctl restart NAME       cold restart of a partition\n"
	"       bulkheadctl suspend NAME       stops a partition, contents kept\n"
	"       bulkheadctl resume NAME        lets a suspended partition run on\n"
	"       bulkheadctl halt NAME          stops a partition until it is restarted\n"
	"       bulkheadctl mode normal|idle   sets this partition's ARINC 653 mode\n";

/* A value of the ABI and its name. */
struct word {
	uint64_t value;
	const char *name;
};

#define WORDS(table) (sizeof(table) / sizeof((table)[0]))
#define NAME_OF(table, value) name_of(table, WORDS(table), value)

static const struct word MODES[] = {
	{ BULKHEAD_MODE_COLD_START, "cold-start" },
	{ BULKHEAD_MODE_WARM_START, "warm-start" },
	{ BULKHEAD_MODE_NORMAL, "normal" },
	{ BULKHEAD_MODE_IDLE, "idle" },
};

static const struct word CONDITIONS[] = {
	{ BULKHEAD_START_POWER_ON, "power-on" },
	{ BULKHEAD_START_OWN_REQUEST, "own request" },
	{ BULKHEAD_START_AUTHORITY, "another partition's request" },
	{ BULKHEAD_START_HEALTH_MONITOR, "health monitor" },
};

static const struct word STATES[] = {
	{ BULKHEAD_STATE_LOADING, "loading" },
	{ BULKHEAD_STATE_RUNNING, "running" },
	{ BULKHEAD_STATE_SUSPENDED, "suspended" },
	{ BULKHEAD_STATE_HALTED, "halted" },
	{ BULKHEAD_STATE_OFF, "off" },
	{ BULKHEAD_STATE_FAILED, "failed" },
	{ BULKHEAD_STATE_RESTARTING, "restarting" },
};

static const struct word OPERATIONS[] = {
	{ BULKHEAD_CONTROL_STATUS, "status" },
	{ BULKHEAD_CONTROL_SUSPEND, "suspend" },
	{ BULKHEAD_CONTROL_RESUME, "resume" },
	{ BULKHEAD_CONTROL_HALT, "halt" },
	{ BULKHEAD_CONTROL_RESTART, "restart" },
};

static const struct word KINDS[] = {
	{ BULKHEAD_KIND_SAMPLING, "sampling" },
	{ BULKHEAD_KIND_QUEUING, "queuing" },
};

static const struct word DIRECTIONS[] = {
	{ BULKHEAD_DIRECTION_SOURCE, "source" },
	{ BULKHEAD_DIRECTION_DESTINATION, "destination" },
};

static const char *name_of(const struct word *words, size_t count, uint64_t value)
{
	for (size_t i = 0; i < count; i++)
		if (words[i].value == value)
			return words[i].name;
	return "unknown";
}

/* Why the module refused, in the terms of bulkhead.h. */
static const char *reason(int error)
{
	switch (error) {
	case EACCES:
		return "the configuration does not grant it";
	case EALREADY:
		return "the target's state makes it meaningless";
	case EAGAIN:
		return "not now, try again";
	case EOPNOTSUPP:
		return "the hypervisor does not offer it to this partition";
	default:
		return strerror(error);
	}
}

static int open_control(void)
{
	int control = open(CONTROL_DEVICE, O_RDWR | O_CLOEXEC);

	if (control < 0)
		fprintf(stderr,
			"bulkheadctl: cannot open %s: %s: bulkhead.ko must be loaded and the device tree must have a node compatible with \"bulkhead,partition-v1\"\n",
			CONTROL_DEVICE, strerror(errno));
	return control;
}

/* Prints an age in the unit that suits it. */
static void print_age(uint64_t age_ns)
{
	if (age_ns == BULKHEAD_AGE_NONE)
		printf("-");
	else if (age_ns < 10000000)
		printf("%" PRIu64 " us", age_ns / 1000);
	else
		printf("%" PRIu64 " ms", age_ns / 1000000);
}

static void print_port(const struct bulkhead_port_status *port)
{
	bool destination = port->direction == BULKHEAD_DIRECTION_DESTINATION;

	printf("  %-16s %-8s %-11s peer %" PRIu32 " %s, epoch %" PRIu32 ", ", port->name,
	       NAME_OF(KINDS, port->kind), NAME_OF(DIRECTIONS, port->direction), port->peer_id,
	       port->peer_epoch ? "running" : "not running", port->peer_epoch);
	if (port->kind == BULKHEAD_KIND_QUEUING) {
		printf("%" PRIu64 " of %" PRIu32 " used, %" PRIu64 " refused", (uint64_t)port->used,
		       port->depth, (uint64_t)port->refused);
	} else if (destination) {
		printf("%s, age ", port->valid ? "VALID" : "INVALID");
		print_age(port->age_ns);
		printf(", %" PRIu64 " overruns", (uint64_t)port->overruns);
	} else {
		printf("%" PRIu64 " written", (uint64_t)port->messages);
	}
	if (port->violations)
		printf(", %" PRIu64 " VIOLATIONS by the peer", (uint64_t)port->violations);
	putchar('\n');
}

static void print_identity(const struct bulkhead_identity *self)
{
	printf("partition  %s (id %" PRIu32 "), %" PRIu32 " vCPUs\n", self->name, self->id,
	       self->vcpu_count);
	printf("start      %" PRIu32 " (%s), mode %s, ", self->start_count,
	       NAME_OF(CONDITIONS, self->start_condition), NAME_OF(MODES, self->mode));
	if (self->plan_id == BULKHEAD_NO_PLAN)
		printf("CPUs of its own\n");
	else
		printf("plan %" PRIu32 "\n", self->plan_id);
	printf("system     %s\nconfig     ", self->part_number);
	for (size_t i = 0; i < sizeof(self->config_id); i++)
		printf("%02x", self->config_id[i]);
	printf("\nABI        %" PRIu32 ".%" PRIu32 "\n", self->abi_version >> 16,
	       self->abi_version & 0xFFFF);
}

static void print_authority(int control, const struct bulkhead_authority *target)
{
	struct bulkhead_control request = {
		.index = target->index,
		.operation = BULKHEAD_CONTROL_STATUS,
	};
	const char *state = "state unknown";

	if (target->rights & 1U << BULKHEAD_CONTROL_STATUS)
		state = ioctl(control, BULKHEAD_IOC_CONTROL, &request) ?
			reason(errno) : NAME_OF(STATES, request.state);
	printf("  %-16s (id %" PRIu32 ") %s; allowed:", target->name, target->id, state);
	for (size_t i = 0; i < WORDS(OPERATIONS); i++)
		if (target->rights & 1U << OPERATIONS[i].value)
			printf(" %s", OPERATIONS[i].name);
	putchar('\n');
}

static int fail(const char *what)
{
	fprintf(stderr, "bulkheadctl: %s: %s\n", what, reason(errno));
	return 1;
}

static int status(int control)
{
	struct bulkhead_identity self;

	if (ioctl(control, BULKHEAD_IOC_IDENTITY, &self))
		return fail("identity");
	print_identity(&self);
	printf("ports\n");
	for (uint32_t i = 0; i < self.port_count; i++) {
		struct bulkhead_port_status port = { .index = i };

		if (ioctl(control, BULKHEAD_IOC_PORT_STATUS, &port))
			return fail("port status");
		print_port(&port);
	}
	printf("authority over\n");
	for (uint32_t i = 0; i < self.authority_count; i++) {
		struct bulkhead_authority target = { .index = i };

		if (ioctl(control, BULKHEAD_IOC_AUTHORITY, &target))
			return fail("authority");
		print_authority(control, &target);
	}
	return 0;
}

static int one_port(int control, const char *name)
{
	struct bulkhead_port_status port = { .index = 0 };

	while (!ioctl(control, BULKHEAD_IOC_PORT_STATUS, &port)) {
		if (strcmp(port.name, name)) {
			port.index++;
			continue;
		}
		printf("name=%s kind=%s direction=%s message_bytes=%" PRIu32 " depth=%" PRIu32
		       " peer_id=%" PRIu32 " epoch=%" PRIu32 " peer_epoch=%" PRIu32
		       " valid=%" PRIu32 " doorbell=%" PRIu32, port.name,
		       NAME_OF(KINDS, port.kind), NAME_OF(DIRECTIONS, port.direction),
		       port.message_bytes, port.depth, port.peer_id, port.epoch, port.peer_epoch,
		       port.valid, port.doorbell);
		printf(" refresh_ns=%" PRIu64, (uint64_t)port.refresh_ns);
		if (port.age_ns == BULKHEAD_AGE_NONE)
			printf(" age_ns=none");
		else
			printf(" age_ns=%" PRIu64, (uint64_t)port.age_ns);
		printf(" messages=%" PRIu64 " used=%" PRIu64 " refused=%" PRIu64
		       " overruns=%" PRIu64 " violations=%" PRIu64 " doorbells=%" PRIu64 "\n",
		       (uint64_t)port.messages, (uint64_t)port.used, (uint64_t)port.refused,
		       (uint64_t)port.overruns, (uint64_t)port.violations,
		       (uint64_t)port.doorbells);
		return 0;
	}
	if (errno != ENOENT)
		return fail("port status");
	fprintf(stderr, "bulkheadctl: no port %s: bulkheadctl status lists them\n", name);
	return 1;
}

static int operate(int control, uint32_t operation, const char *name)
{
	struct bulkhead_authority target = { .index = 0 };

	while (!ioctl(control, BULKHEAD_IOC_AUTHORITY, &target)) {
		struct bulkhead_control request = {
			.index = target.index,
			.operation = operation,
		};

		if (strcmp(target.name, name)) {
			target.index++;
			continue;
		}
		if (!ioctl(control, BULKHEAD_IOC_CONTROL, &request)) {
			printf("%s %s: done\n", NAME_OF(OPERATIONS, operation), name);
			return 0;
		}
		fprintf(stderr, "bulkheadctl: %s %s: %s\n", NAME_OF(OPERATIONS, operation), name,
			reason(errno));
		return 1;
	}
	if (errno != ENOENT)
		return fail("authority");
	fprintf(stderr,
		"bulkheadctl: this partition has no authority over %s: bulkheadctl status lists whom it controls\n",
		name);
	return 1;
}

static int set_mode(int control, const char *name)
{
	unsigned long mode;

	if (!strcmp(name, "normal")) {
		mode = BULKHEAD_MODE_NORMAL;
	} else if (!strcmp(name, "idle")) {
		mode = BULKHEAD_MODE_IDLE;
	} else {
		fprintf(stderr, "bulkheadctl: mode is %s, expected normal or idle\n", name);
		return 2;
	}
	/* EALREADY: it is in that mode. */
	if (ioctl(control, BULKHEAD_IOC_SET_MODE, mode) && errno != EALREADY)
		return fail("mode");
	return 0;
}

static int usage(void)
{
	fputs(USAGE, stderr);
	return 2;
}

/* Runs a command with one argument; usage if there is none of that name. */
static int named(int control, const char *command, const char *argument)
{
	if (!strcmp(command, "port"))
		return one_port(control, argument);
	if (!strcmp(command, "mode"))
		return set_mode(control, argument);
	for (size_t i = 0; i < WORDS(OPERATIONS); i++)
		if (OPERATIONS[i].value != BULKHEAD_CONTROL_STATUS &&
		    !strcmp(command, OPERATIONS[i].name))
			return operate(control, OPERATIONS[i].value, argument);
	return usage();
}

int main(int count, char **arguments)
{
	int control, result;

	if (count == 2 && (!strcmp(arguments[1], "--help") || !strcmp(arguments[1], "help"))) {
		fputs(USAGE, stdout);
		return 0;
	}
	if (!(count == 2 && !strcmp(arguments[1], "status")) && count != 3)
		return usage();
	control = open_control();
	if (control < 0)
		return 1;
	result = count == 2 ? status(control) : named(control, arguments[1], arguments[2]);
	close(control);
	return result;
}
