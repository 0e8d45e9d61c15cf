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
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "bulkhead.h"
#include "bulkhead_abi.h"
#include "names.h"
#include "trace.h"

#define DEVICES "/dev/bulkhead/"
#define CONTROL_DEVICE DEVICES "control"
/* How long `wait` waits. */
#define WAIT_MS 1000

static const char USAGE[] =
	"usage: bulkheadctl status             this partition, its ports, partitions it controls\n"
	"       bulkheadctl port NAME          one port, as key=value pairs on one line\n"
	"       bulkheadctl wait NAME          waits, a second at most, until a port is readable or writable\n"
	"       bulkheadctl health             the health log, oldest first\n"
	"       bulkheadctl trace [FILE]       the trace, oldest first, or its rings into a file\n"
	"       bulkheadctl top [SECONDS]      states, windows, exits, health events; again and again\n"
	"       bulkheadctl plan [ID]          the plan that runs, or asks for another\n"
	"       bulkheadctl restart NAME       cold restart of a partition\n"
	"       bulkheadctl warm-restart NAME  restart that keeps its persistent regions\n"
	"       bulkheadctl shutdown NAME      asks a partition to come to an orderly end\n"
	"       bulkheadctl suspend NAME       stops a partition, contents kept\n"
	"       bulkheadctl resume NAME        lets a suspended partition run on\n"
	"       bulkheadctl halt NAME          stops a partition until it is restarted\n"
	"       bulkheadctl mode normal|idle   sets this partition's ARINC 653 mode\n"
	"       bulkheadctl reset-board        resets the whole board\n";

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
	case ENODATA:
		return "it has no region that outlives a warm restart";
	case EBUSY:
		return "its bus master cannot be quiesced";
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
	printf("part       %s\nimage ID   ", self->part_number);
	for (size_t i = 0; i < sizeof(self->image_id); i++)
		printf("%02x", self->image_id[i]);
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

/* Name of the partition with this index, for the reader of the health log. */
static const char *partition_name(int control, struct bulkhead_partition *partition, uint32_t index)
{
	partition->index = index;
	if (index == BULKHEAD_HEALTH_NO_PARTITION)
		return "module";
	return ioctl(control, BULKHEAD_IOC_PARTITION, partition) ? "unknown" : partition->name;
}

static void print_record(int control, const struct bulkhead_health *record)
{
	struct bulkhead_partition partition = { .index = 0 };

	printf("%6" PRIu64 ".%06" PRIu64 " s  %-16s vCPU %" PRIu32 " CPU %" PRIu32
	       "  %s -> %s  code %#" PRIx64,
	       (uint64_t)record->time_ns / 1000000000, (uint64_t)record->time_ns / 1000 % 1000000,
	       partition_name(control, &partition, record->partition), record->vcpu, record->cpu,
	       NAME_OF(EVENTS, record->event), NAME_OF(ACTIONS, record->action),
	       (uint64_t)record->code);
	if (record->elr)
		printf("  ESR %#" PRIx64 " FAR %#" PRIx64 " ELR %#" PRIx64, (uint64_t)record->esr,
		       (uint64_t)record->far, (uint64_t)record->elr);
	putchar('\n');
}

static int by_time(const void *left, const void *right)
{
	const struct bulkhead_health *a = left, *b = right;

	return (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
}

/* All records, oldest first, in memory of malloc; their number, or -1. */
static int read_health(int control, struct bulkhead_health **records)
{
	struct bulkhead_health record = { .cursor = 0 };
	int count = 0;

	*records = NULL;
	while (!ioctl(control, BULKHEAD_IOC_HEALTH, &record)) {
		struct bulkhead_health *grown = realloc(*records, (count + 1) * sizeof(record));

		if (!grown) {
			errno = ENOMEM;
			return -1;
		}
		*records = grown;
		grown[count++] = record;
	}
	if (errno != ENOENT)
		return -1;
	if (count)
		qsort(*records, count, sizeof(record), by_time);
	return count;
}

static int health(int control)
{
	struct bulkhead_health *records;
	int count = read_health(control, &records);

	for (int i = 0; i < count; i++)
		print_record(control, &records[i]);
	free(records);
	if (count < 0)
		return fail("health");
	printf("%d records\n", count);
	return 0;
}

static int plan(int control)
{
	struct bulkhead_plan plan;

	if (ioctl(control, BULKHEAD_IOC_PLAN, &plan))
		return fail("plan");
	printf("plan %" PRIu32 " since %" PRIu64 " ms", plan.plan_id,
	       (uint64_t)plan.since_ns / 1000000);
	if (plan.next_ns)
		printf(", plan %" PRIu32 " in %" PRIu64 " us", plan.next_id,
		       (uint64_t)plan.next_ns / 1000);
	putchar('\n');
	return 0;
}

/* Health records of the partition with this name. */
static int events_of(int control, const struct bulkhead_health *records, int count, const char *name)
{
	int events = 0;

	for (int i = 0; i < count; i++) {
		struct bulkhead_partition partition = { .index = 0 };

		events += !strcmp(name, partition_name(control, &partition, records[i].partition));
	}
	return events;
}

/* State, starts and mode, as far as this partition has authority to know them. */
static void print_state(int control, const char *name)
{
	struct bulkhead_authority target = { .index = 0 };
	struct bulkhead_control status = { .operation = BULKHEAD_CONTROL_STATUS };

	while (!ioctl(control, BULKHEAD_IOC_AUTHORITY, &target) && strcmp(target.name, name))
		target.index++;
	status.index = target.index;
	if (!strcmp(target.name, name) && !ioctl(control, BULKHEAD_IOC_CONTROL, &status))
		printf("%-16s %-10s %7" PRIu32 " %-11s", name, NAME_OF(STATES, status.state),
		       status.starts, NAME_OF(MODES, status.mode));
	else
		printf("%-16s %-10s %7s %-11s", name, "-", "-", "-");
}

/* A number that was not, or may not be, found out is a dash. */
static void print_count(bool known, uint64_t value)
{
	if (known)
		printf(" %9" PRIu64, value);
	else
		printf(" %9s", "-");
}

/* Without the right to read log or trace: those whose state may be known. */
static void print_authorities(int control)
{
	struct bulkhead_authority target = { .index = 0 };

	for (; !ioctl(control, BULKHEAD_IOC_AUTHORITY, &target); target.index++) {
		print_state(control, target.name);
		printf(" %9s %9s %9s\n", "-", "-", "-");
	}
}

/* One view: windows and exits since @before, in @now if the trace may be read. */
static void print_view(int control, bool traced, const struct trace_totals *before,
		       const struct trace_totals *now)
{
	struct bulkhead_partition partition = { .index = 0 };
	struct bulkhead_health *records;
	int count = read_health(control, &records);

	printf("%-16s %-10s %7s %-11s %9s %9s %9s\n", "PARTITION", "STATE", "STARTS", "MODE",
	       "WINDOWS", "EXITS", "EVENTS");
	if (ioctl(control, BULKHEAD_IOC_PARTITION, &partition))
		print_authorities(control);
	for (; !ioctl(control, BULKHEAD_IOC_PARTITION, &partition); partition.index++) {
		uint64_t windows = 0, exits = 0;

		for (uint32_t i = 0; i < partition.vcpu_count; i++) {
			uint32_t vcpu = (partition.vcpu_first + i) % TRACE_VCPUS;

			windows += now->windows[vcpu] - before->windows[vcpu];
			exits += now->exits[vcpu] - before->exits[vcpu];
		}
		print_state(control, partition.name);
		print_count(traced, windows);
		print_count(traced, exits);
		print_count(count >= 0, events_of(control, records, count, partition.name));
		putchar('\n');
	}
	free(records);
	fflush(stdout);
}

/* One view of what the rings hold. */
static int top_once(int control)
{
	struct trace_totals none, now;
	bool traced;

	trace_begin(&none);
	trace_begin(&now);
	traced = !trace_count(control, &now);
	print_view(control, traced, &none, &now);
	return 0;
}

static int top(int control, const char *seconds)
{
	struct trace_totals before, now;
	int period = atoi(seconds);

	if (period < 1) {
		fprintf(stderr, "bulkheadctl: %s: expected a number of seconds\n", seconds);
		return 2;
	}
	trace_begin(&now);
	trace_count(control, &now);
	for (;;) {
		bool traced;

		sleep(period);
		before = now;
		traced = !trace_count(control, &now);
		printf("\033[H\033[J");
		print_view(control, traced, &before, &now);
	}
}

static int trace(int control)
{
	return trace_print(control) ? fail("trace") : 0;
}

static int set_plan(int control, const char *id)
{
	if (ioctl(control, BULKHEAD_IOC_SET_PLAN, strtoul(id, NULL, 0)))
		return fail("plan");
	return plan(control);
}

static int reset_board(int control)
{
	ioctl(control, BULKHEAD_IOC_RESET_BOARD);
	return fail("reset-board");
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

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Waits by poll() until a port is ready in its own direction. */
static int wait_port(const char *name)
{
	char path[sizeof(DEVICES) + BULKHEAD_NAME_LEN];
	struct pollfd port = { .events = POLLIN };
	long long start;
	int ready;

	snprintf(path, sizeof(path), DEVICES "%s", name);
	port.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (port.fd < 0 && errno == EACCES) {
		port.events = POLLOUT;
		port.fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	}
	if (port.fd < 0)
		return fail(name);
	start = now_ms();
	ready = poll(&port, 1, WAIT_MS);
	if (ready > 0)
		printf("%s %s after %lld ms\n", name, port.revents & POLLIN ? "readable" : "writable",
		       now_ms() - start);
	else if (!ready)
		fprintf(stderr, "bulkheadctl: wait: %s is not ready within %d ms\n", name, WAIT_MS);
	else
		fail(name);
	close(port.fd);
	return ready > 0 ? 0 : 1;
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
	if (!strcmp(command, "wait"))
		return wait_port(argument);
	if (!strcmp(command, "mode"))
		return set_mode(control, argument);
	if (!strcmp(command, "plan"))
		return set_plan(control, argument);
	if (!strcmp(command, "trace"))
		return trace_save(control, argument) ? fail("trace") : 0;
	if (!strcmp(command, "top"))
		return top(control, argument);
	for (size_t i = 0; i < WORDS(OPERATIONS); i++)
		if (OPERATIONS[i].value != BULKHEAD_CONTROL_STATUS &&
		    !strcmp(command, OPERATIONS[i].name))
			return operate(control, OPERATIONS[i].value, argument);
	return usage();
}

/* Commands without an argument. */
static const struct command {
	const char *name;
	int (*run)(int control);
} COMMANDS[] = {
	{ "status", status },
	{ "health", health },
	{ "plan", plan },
	{ "top", top_once },
	{ "trace", trace },
	{ "reset-board", reset_board },
};

static int alone(int control, const char *command)
{
	for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++)
		if (!strcmp(command, COMMANDS[i].name))
			return COMMANDS[i].run(control);
	return usage();
}

int main(int count, char **arguments)
{
	int control, result;

	if (count == 2 && (!strcmp(arguments[1], "--help") || !strcmp(arguments[1], "help"))) {
		fputs(USAGE, stdout);
		return 0;
	}
	if (count != 2 && count != 3)
		return usage();
	control = open_control();
	if (control < 0)
		return 1;
	result = count == 2 ? alone(control, arguments[1]) : named(control, arguments[1], arguments[2]);
	close(control);
	return result;
}
