/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What bulkheadctl calls the values of the ABI. */
#ifndef BULKHEADCTL_NAMES_H
#define BULKHEADCTL_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "bulkhead_abi.h"

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
	{ BULKHEAD_CONTROL_WARM_RESTART, "warm-restart" },
	{ BULKHEAD_CONTROL_SHUTDOWN, "shutdown" },
};

static const struct word EVENTS[] = {
	{ BULKHEAD_EVENT_MEMORY_VIOLATION, "memory-violation" },
	{ BULKHEAD_EVENT_DENIED_HYPERCALL, "denied-hypercall" },
	{ BULKHEAD_EVENT_UNDEFINED_SYSREG, "undefined-sysreg" },
	{ BULKHEAD_EVENT_EXTERNAL_ABORT, "external-abort" },
	{ BULKHEAD_EVENT_UNDECODABLE_ACCESS, "undecodable-access" },
	{ BULKHEAD_EVENT_ILLEGAL_DEVICE_ACCESS, "illegal-device-access" },
	{ BULKHEAD_EVENT_WATCHDOG, "watchdog" },
	{ BULKHEAD_EVENT_INIT_TIMEOUT, "init-timeout" },
	{ BULKHEAD_EVENT_DEADLINE_MISS, "deadline-miss" },
	{ BULKHEAD_EVENT_PORT_VIOLATION, "port-violation" },
	{ BULKHEAD_EVENT_CONSOLE_OVERFLOW, "console-overflow" },
	{ BULKHEAD_EVENT_INTERRUPT_STORM, "interrupt-storm" },
	{ BULKHEAD_EVENT_INTEGRITY, "integrity" },
	{ BULKHEAD_EVENT_EL2_ERROR, "hypervisor-fault" },
	{ BULKHEAD_EVENT_APPLICATION_ERROR, "application-error" },
	{ BULKHEAD_EVENT_WINDOW_OVERRUN, "window-overrun" },
};

static const struct word ACTIONS[] = {
	{ BULKHEAD_ACTION_IGNORE, "ignore" },
	{ BULKHEAD_ACTION_LOG, "log" },
	{ BULKHEAD_ACTION_NOTIFY, "notify" },
	{ BULKHEAD_ACTION_INJECT_ABORT, "inject-abort" },
	{ BULKHEAD_ACTION_INJECT_UNDEF, "inject-undef" },
	{ BULKHEAD_ACTION_SUSPEND, "suspend" },
	{ BULKHEAD_ACTION_HALT, "halt" },
	{ BULKHEAD_ACTION_WARM_RESTART, "warm-restart" },
	{ BULKHEAD_ACTION_COLD_RESTART, "cold-restart" },
	{ BULKHEAD_ACTION_SWITCH_PLAN, "switch-plan" },
	{ BULKHEAD_ACTION_RESET_BOARD, "reset-board" },
	{ BULKHEAD_ACTION_MASK_INTERRUPT, "mask-interrupt" },
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

#endif
