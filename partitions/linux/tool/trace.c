/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The trace: one ring of records for each CPU (hv/abi/src/trace.rs), copied out
 * and read here. What was overwritten while it was copied is left out.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "bulkhead.h"
#include "bulkhead_abi.h"
#include "trace.h"

#define TICKS_SHIFT 16

/* A copy of the rings. */
struct rings {
	uint8_t *bytes;
	uint64_t total;
	uint64_t stride;		/* bytes of one CPU's ring */
	unsigned int cpus;
	uint64_t slots;			/* records of one ring */
	uint64_t first[TRACE_CPUS];	/* oldest record that is whole */
	uint64_t written[TRACE_CPUS];	/* number of the next record */
};

struct record {
	uint64_t ticks;
	uint64_t value;
	unsigned int cpu;
	uint8_t kind;
	uint8_t argument;
};

static uint64_t word(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static int copy(int control, uint64_t offset, void *buffer, uint64_t bytes, uint64_t *total)
{
	struct bulkhead_trace part = {
		.offset = offset,
		.bytes = bytes,
		.buffer = (uintptr_t)buffer,
	};

	if (ioctl(control, BULKHEAD_IOC_TRACE, &part))
		return -1;
	*total = part.total;
	if (bytes && part.bytes != bytes) {
		errno = EIO;
		return -1;
	}
	return 0;
}

/* Finds the rings in the copy: each begins with a header, all are of one size. */
static bool divide(struct rings *rings)
{
	const uint64_t step = BULKHEAD_TRACE_RECORD_BYTES;
	uint64_t at;

	if (rings->total < BULKHEAD_TRACE_HEADER_BYTES ||
	    word(rings->bytes + BULKHEAD_TRACE_MAGIC_AT) != BULKHEAD_TRACE_MAGIC)
		return false;
	for (at = step; at + BULKHEAD_TRACE_HEADER_BYTES <= rings->total; at += step)
		if (rings->total % at == 0 &&
		    word(rings->bytes + at + BULKHEAD_TRACE_MAGIC_AT) == BULKHEAD_TRACE_MAGIC)
			break;
	rings->stride = at + BULKHEAD_TRACE_HEADER_BYTES <= rings->total ? at : rings->total;
	rings->cpus = rings->total / rings->stride;
	rings->slots = (rings->stride - BULKHEAD_TRACE_HEADER_BYTES) / BULKHEAD_TRACE_RECORD_BYTES;
	return rings->cpus <= TRACE_CPUS && rings->slots;
}

/* Copies the rings; those who call free() the bytes. */
static int read_rings(int control, struct rings *rings)
{
	uint64_t total;

	memset(rings, 0, sizeof(*rings));
	if (copy(control, 0, NULL, 0, &rings->total))
		return -1;
	rings->bytes = malloc(rings->total + 1);
	if (!rings->bytes)
		return -1;
	if (copy(control, 0, rings->bytes, rings->total, &total))
		return -1;
	if (!divide(rings)) {
		errno = EPROTO;
		return -1;
	}
	for (unsigned int cpu = 0; cpu < rings->cpus; cpu++) {
		uint64_t header = cpu * rings->stride, later;

		rings->written[cpu] = word(rings->bytes + header + BULKHEAD_TRACE_WRITTEN);
		if (copy(control, header + BULKHEAD_TRACE_WRITTEN, &later, sizeof(later), &total))
			return -1;
		/* The slot behind the last record may be half written. */
		if (later + 1 > rings->slots)
			rings->first[cpu] = later + 1 - rings->slots;
		if (rings->first[cpu] > rings->written[cpu])
			rings->first[cpu] = rings->written[cpu];
	}
	return 0;
}

static struct record record_at(const struct rings *rings, unsigned int cpu, uint64_t number)
{
	const uint8_t *at = rings->bytes + cpu * rings->stride + BULKHEAD_TRACE_HEADER_BYTES +
			    number % rings->slots * BULKHEAD_TRACE_RECORD_BYTES;
	uint64_t head = word(at);

	return (struct record) {
		.ticks = head >> TICKS_SHIFT,
		.value = word(at + 8),
		.cpu = cpu,
		.kind = head & 0xFF,
		.argument = head >> 8 & 0xFF,
	};
}

static int by_ticks(const void *left, const void *right)
{
	const struct record *a = left, *b = right;

	return (a->ticks > b->ticks) - (a->ticks < b->ticks);
}

/* Prints "NAME.N" for vCPU N of a partition. */
static void print_vcpu(int control, uint32_t vcpu)
{
	struct bulkhead_partition partition = { .index = 0 };

	for (; !ioctl(control, BULKHEAD_IOC_PARTITION, &partition); partition.index++) {
		if (vcpu - partition.vcpu_first < partition.vcpu_count) {
			printf("%s.%" PRIu32, partition.name, vcpu - partition.vcpu_first);
			return;
		}
	}
	printf("vCPU %" PRIu32, vcpu);
}

static void print_partition(int control, uint32_t index)
{
	struct bulkhead_partition partition = { .index = index };

	printf("%s", ioctl(control, BULKHEAD_IOC_PARTITION, &partition) ? "module" : partition.name);
}

static const char *const CAUSES[BULKHEAD_TRACE_CAUSE_COUNT] = {
	"calls", "accesses", "injections", "kicks", "maintenance", "timer", "console", "stragglers",
};

static void print_visits(const struct record *record)
{
	const unsigned int first = 2 * record->argument % BULKHEAD_TRACE_CAUSE_COUNT;

	printf("visits  %s %" PRIu32 " %s %" PRIu32, CAUSES[first], (uint32_t)record->value,
	       CAUSES[first + 1], (uint32_t)(record->value >> 32));
}

static void print_record(int control, const struct record *record)
{
	uint32_t low = record->value, high = record->value >> 32;

	printf("%16" PRIu64 "  CPU %u  ", record->ticks, record->cpu);
	switch (record->kind) {
	case BULKHEAD_TRACE_START:
	case BULKHEAD_TRACE_END:
		printf(record->kind == BULKHEAD_TRACE_START ? "start   " : "end     ");
		print_vcpu(control, high);
		printf(record->kind == BULKHEAD_TRACE_START ? "  %" PRIu32 " ticks after the plan" :
							      "  %" PRIu32 " ticks left", low);
		printf(record->argument ? "" : ", background");
		break;
	case BULKHEAD_TRACE_VISITS:
		print_visits(record);
		break;
	case BULKHEAD_TRACE_DEFERRED:
		printf("deferred %" PRIu64 " interrupts", record->value);
		break;
	case BULKHEAD_TRACE_STRAGGLER:
		printf("straggler INTID %" PRIu32 " of ", low);
		print_partition(control, high);
		break;
	case BULKHEAD_TRACE_HEALTH:
		printf("health  event %u action %" PRIu32 " of ", record->argument, low);
		print_partition(control, high);
		break;
	case BULKHEAD_TRACE_PLAN:
	case BULKHEAD_TRACE_PLAN_ASKED:
		printf("plan    %u %s %" PRIu64, record->argument,
		       record->kind == BULKHEAD_TRACE_PLAN ? "since" : "asked for at", record->value);
		break;
	case BULKHEAD_TRACE_CLEANED:
		printf("cleaned%s%s in %" PRIu64 " ticks", record->argument & 1 ? " L1 caches" : "",
		       record->argument & 2 ? " branch predictor" : "", record->value);
		break;
	default:
		printf("kind %u value %#" PRIx64, record->kind, record->value);
	}
	putchar('\n');
}

int trace_print(int control)
{
	struct record *records = NULL;
	struct rings rings;
	size_t count = 0;
	int result = read_rings(control, &rings);

	if (!result) {
		records = calloc(rings.cpus * rings.slots, sizeof(*records));
		result = records ? 0 : -1;
	}
	for (unsigned int cpu = 0; !result && cpu < rings.cpus; cpu++)
		for (uint64_t n = rings.first[cpu]; n < rings.written[cpu]; n++)
			records[count++] = record_at(&rings, cpu, n);
	if (count)
		qsort(records, count, sizeof(*records), by_ticks);
	for (size_t i = 0; i < count; i++)
		print_record(control, &records[i]);
	if (!result)
		printf("%zu records\n", count);
	free(records);
	free(rings.bytes);
	return result;
}

int trace_save(int control, const char *path)
{
	struct rings rings;
	int result = read_rings(control, &rings);
	FILE *file = result ? NULL : fopen(path, "wb");

	if (!file)
		result = -1;
	else if (fwrite(rings.bytes, 1, rings.total, file) != rings.total)
		result = -1;
	if (file && fclose(file))
		result = -1;
	free(rings.bytes);
	return result;
}

void trace_begin(struct trace_totals *totals)
{
	memset(totals, 0, sizeof(*totals));
	for (int cpu = 0; cpu < TRACE_CPUS; cpu++)
		totals->running[cpu] = -1;
}

/* What one more record says about the vCPU that runs on its CPU. */
static void count_record(struct trace_totals *totals, const struct record *record)
{
	int *running = &totals->running[record->cpu];
	uint32_t vcpu = record->value >> 32;

	if (record->kind == BULKHEAD_TRACE_START && vcpu < TRACE_VCPUS) {
		*running = vcpu;
		totals->windows[vcpu] += record->argument != 0;
	} else if (record->kind == BULKHEAD_TRACE_VISITS && *running >= 0) {
		totals->finished[*running] += (uint32_t)record->value + (record->value >> 32);
	} else if (record->kind == BULKHEAD_TRACE_END) {
		*running = -1;
	}
}

int trace_count(int control, struct trace_totals *totals)
{
	struct rings rings;
	int result = read_rings(control, &rings);

	for (unsigned int cpu = 0; !result && cpu < rings.cpus; cpu++) {
		uint64_t n = totals->read[cpu];

		for (n = n > rings.first[cpu] ? n : rings.first[cpu]; n < rings.written[cpu]; n++) {
			struct record record = record_at(&rings, cpu, n);

			count_record(totals, &record);
		}
		totals->read[cpu] = rings.written[cpu];
	}
	if (!result)
		memcpy(totals->exits, totals->finished, sizeof(totals->exits));
	/* Visits of those who run still stand in the rings' headers. */
	for (unsigned int cpu = 0; !result && cpu < rings.cpus; cpu++) {
		const uint8_t *causes = rings.bytes + cpu * rings.stride + BULKHEAD_TRACE_CAUSES;

		for (int i = 0; totals->running[cpu] >= 0 && i < BULKHEAD_TRACE_CAUSE_COUNT / 2; i++) {
			uint64_t pair = word(causes + 8 * i);

			totals->exits[totals->running[cpu]] += (uint32_t)pair + (pair >> 32);
		}
	}
	free(rings.bytes);
	return result;
}
