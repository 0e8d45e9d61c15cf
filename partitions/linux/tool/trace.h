/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The trace rings of all CPUs, as bulkheadctl reads them. */
#ifndef BULKHEADCTL_TRACE_H
#define BULKHEADCTL_TRACE_H

#include <stdint.h>

/* CPUs and vCPUs that this tool knows; the hypervisor has no more. */
#define TRACE_CPUS 8
#define TRACE_VCPUS 32

/* What happened to each vCPU since the tool began to look. */
struct trace_totals {
	uint64_t windows[TRACE_VCPUS];	/* windows of its own that it began */
	uint64_t exits[TRACE_VCPUS];	/* visits of the hypervisor while it ran */
	/* Private: how far each CPU was read, and who runs there. */
	uint64_t read[TRACE_CPUS];
	uint64_t finished[TRACE_VCPUS];
	int running[TRACE_CPUS];
};

/* Prints the records that are there, oldest first; vCPUs by partition. 0 or -1 with errno. */
int trace_print(int control);
/* Writes the rings to a file, for `bulkhead trace IMAGE FILE`. 0 or -1 with errno. */
int trace_save(int control, const char *path);
/* Begins to count. */
void trace_begin(struct trace_totals *totals);
/* Adds what happened since the last call. 0 or -1 with errno: EACCES without the right. */
int trace_count(int control, struct trace_totals *totals);

#endif
