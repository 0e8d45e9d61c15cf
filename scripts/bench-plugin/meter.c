/*
 * meter: a TCG plugin that counts the instructions of EL2 from outside.
 *
 * EL2's code is told from a guest's by its physical address, so that the shipped binary is measured.
 * A visit begins at a vector for a lower exception level and ends with the ERET that is executed
 * there. Visits are counted by all that tells them apart, their length included, so that minimum,
 * median, maximum and histogram are the reader's to take.
 *
 * Phases divide a run. Until the first ERET of CPU 0 they are the numbered stages of the boot, taken
 * from what EL2 prints; then RUNNING, until a guest executes HINT #64 to #127, unallocated hints
 * that are NOPs to every CPU: they set the phase to their number. The first instruction of a Linux
 * kernel, which is nobody else's, sets it to LINUX_BOOT. Where guests are counted, the first
 * instruction of a guest after its loader's last ends a phase that a guest has set: LOADED follows.
 *
 * Arguments: out=FILE, text=FIRST-END (EL2's code, physical), vectors=ADDRESS, uart=ADDRESS,
 * switch=ADDRESS (what is executed once in a visit that chooses a vCPU anew), pieces=ADDRESS (where EL2
 * looks for interrupts between two pieces of work on a vCPU that starts or ends), apart=FIRST-END (code
 * that does not count towards the length of a visit: waiting for a planned tick, speculation barriers;
 * may be repeated), guests=FIRST-END (count what guests execute, too; the code of the loader, as the
 * partition sees it), bare=on (no EL2: neither text= nor vectors= are needed).
 *
 * Numbers of phases without a mark stand for the instructions of some visits alone, as far as they
 * count towards a length: SWITCHES + CPU for all visits by interrupts that choose a vCPU anew,
 * SHORTEST_SWITCH + CPU and LONGEST_SWITCH + CPU for one of them, LONGEST_STAY for the longest visit
 * that keeps its vCPU. They are for profiles.
 *
 * Output, one record to a line, addresses in hexadecimal:
 *   visit PHASE CPU VMID VECTOR CLASS PC LENGTH DEVICE-ACCESSES LIST-REGISTER-ACCESSES SWITCHED COUNT
 *   pc PHASE ADDRESS EXECUTIONS
 *   guest PHASE INSTRUCTIONS INSTRUCTIONS-OF-THE-LOADER
 * VECTOR is 0 to 15, 16 for what follows a WFI of EL2, or 17 for a piece of work on a vCPU; CLASS is
 * that of ESR_EL2 for vector 8, else 0. A visit that ends in a WFI of EL2 is counted as one, and so is
 * each piece.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

#define CPUS 8
#define PHASES 128
#define BOOT_PHASES 16
#define RUNNING 16
#define SECONDARY_BOOT 17
#define SWITCHES 24
#define SHORTEST_SWITCH 32
#define LONGEST_SWITCH 40
#define LONGEST_STAY 48
#define LOADED 62
#define LINUX_BOOT 63
#define FIRST_MARK 64
#define APART_MAX 4
#define IRQ 9
#define FIQ 10
#define AFTER_WAIT 16
#define PIECE 17
#define VECTOR_BYTES 0x800
#define LINE_BYTES 80
#define PATH_MAX_LENGTH 65536

#define OPCODE_ERET 0xd69f03e0u
#define OPCODE_WFI 0xd503207fu
#define OPCODE_HINT 0xd503201fu
/* `ccmp x18, #0, #0xd, pl`: "MZ", by which UEFI knows an arm64 Image (Linux, arch/arm64/kernel/efi-header.S). */
#define OPCODE_MZ 0xfa405a4du
#define HINT_MASK 0xfffff01fu

int qemu_plugin_version = QEMU_PLUGIN_API;

/* An instruction of EL2. */
struct site {
	uint64_t address;
	uint64_t executed[PHASES];
	bool is_end;
	bool is_wait;
	bool is_apart;
	bool is_switch;
	bool is_piece;
	bool is_list_register;
};

/* The instructions of a visit in their order, as far as they fit. */
struct path {
	struct site *sites[PATH_MAX_LENGTH];
	uint32_t length;
};

struct cpu {
	bool in_visit;
	bool has_left;
	bool switched;
	uint16_t vmid;
	uint8_t vector;
	uint8_t class;
	uint64_t pc;
	uint32_t length;
	uint32_t devices;
	uint32_t list_registers;
	struct path path;
};

struct visit {
	uint64_t key[4];
	uint64_t count;
};

static struct range {
	uint64_t first, end;
} text, loader, apart[APART_MAX];
static bool is_bare;
static uint64_t guests[PHASES], loaders[PHASES];
static unsigned aparts;
static uint64_t vectors, uart, chooser, pieces;
static const char *output;
static struct site *sites;
/* One more for CPUs that have not said who they are. */
static struct cpu cpus[CPUS + 1];
/*
 * The CPU that executes. QEMU tells callbacks the CPU that the code was translated on, which under
 * -icount is not the one that runs it (seen in 10.0.2); so each block asks for TPIDR_EL2, which EL2
 * gives each CPU its own value of, in the order of its CPUs.
 */
static unsigned running;
static uint64_t blocks[CPUS];
static struct path shortest_switch[CPUS], longest_switch[CPUS], longest_stay;
static struct qemu_plugin_register *esr, *elr, *vttbr, *tpidr;
static unsigned phase;
static struct g_array *scratch;
/* Host address of physical address 0, were there RAM. */
static uint8_t *ram;

static struct visit *table;
static size_t table_slots = 1 << 12, table_used;

static void give_up(const char *why)
{
	fprintf(stderr, "meter: %s\n", why);
	exit(1);
}

static struct visit *slot_of(struct visit *in, size_t slots, const uint64_t key[4])
{
	uint64_t hash = 0;
	for (int i = 0; i < 4; i++)
		hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15ull, hash ^= hash >> 29;
	size_t at = hash & (slots - 1);
	while (in[at].count && memcmp(in[at].key, key, sizeof in[at].key))
		at = (at + 1) & (slots - 1);
	return &in[at];
}

static void grow(void)
{
	struct visit *larger = calloc(table_slots * 2, sizeof *larger);
	if (!larger)
		give_up("no memory for visits");
	for (size_t i = 0; i < table_slots; i++)
		if (table[i].count)
			*slot_of(larger, table_slots * 2, table[i].key) = table[i];
	free(table);
	table = larger;
	table_slots *= 2;
}

static void keep(struct path *kept, const struct path *path)
{
	kept->length = path->length;
	memcpy(kept->sites, path->sites, path->length * sizeof *path->sites);
}

/* Keeps what profiles of single visits are made of. */
static void note_path(unsigned index)
{
	struct cpu *cpu = &cpus[index];
	const struct path *path = &cpu->path;
	if (index == CPUS)
		return;
	if (!cpu->switched && cpu->vector != AFTER_WAIT && path->length > longest_stay.length)
		keep(&longest_stay, path);
	if (!cpu->switched || (cpu->vector != IRQ && cpu->vector != FIQ))
		return;
	for (uint32_t i = 0; i < path->length; i++)
		path->sites[i]->executed[SWITCHES + index]++;
	if (!shortest_switch[index].length || path->length < shortest_switch[index].length)
		keep(&shortest_switch[index], path);
	if (path->length > longest_switch[index].length)
		keep(&longest_switch[index], path);
}

static void add_path(const struct path *path, unsigned to)
{
	for (uint32_t i = 0; i < path->length; i++)
		path->sites[i]->executed[to]++;
}

static void end_visit(unsigned index)
{
	struct cpu *cpu = &cpus[index];
	if (!cpu->in_visit)
		return;
	note_path(index);
	const uint64_t key[4] = {
		(uint64_t)phase << 48 | (uint64_t)index << 40 | (uint64_t)cpu->vmid << 16 | cpu->vector << 8 | cpu->class,
		cpu->pc,
		cpu->length,
		(uint64_t)cpu->switched << 63 | (uint64_t)cpu->devices << 32 | cpu->list_registers,
	};
	struct visit *visit = slot_of(table, table_slots, key);
	if (!visit->count++) {
		memcpy(visit->key, key, sizeof visit->key);
		if (++table_used * 2 > table_slots)
			grow();
	}
	cpu->in_visit = false;
}

static void begin_visit(struct cpu *cpu, uint8_t vector)
{
	cpu->in_visit = true;
	cpu->vector = vector;
	cpu->class = 0;
	cpu->pc = 0;
	cpu->switched = false;
	cpu->length = cpu->devices = cpu->list_registers = cpu->path.length = 0;
}

static uint64_t value_of(struct qemu_plugin_register *handle)
{
	uint64_t value = 0;
	g_byte_array_set_size(scratch, 0);
	int bytes = qemu_plugin_read_register(handle, scratch);
	memcpy(&value, scratch->data, bytes < 8 ? (bytes < 0 ? 0 : bytes) : 8);
	return value;
}

/* At the first instruction of each block of EL2. */
static void on_block(unsigned translated_on, void *user)
{
	uint64_t block = value_of(tpidr);
	unsigned index = 0;
	while (index < CPUS && blocks[index] && blocks[index] != block)
		index++;
	if (index == CPUS)
		give_up("more values of TPIDR_EL2 than CPUs");
	/* A secondary CPU that has no value yet counts as none. */
	running = block ? index : blocks[0] ? CPUS : 0;
	if (block)
		blocks[index] = block;
}

/* At a vector, before its first instruction. */
static void on_vector(unsigned translated_on, void *user)
{
	const struct site *site = user;
	struct cpu *cpu = &cpus[running];
	uint8_t vector = (site->address - vectors) >> 7;
	begin_visit(cpu, vector);
	cpu->vmid = value_of(vttbr) >> 48;
	cpu->pc = value_of(elr);
	if (vector == 8)
		cpu->class = value_of(esr) >> 26 & 0x3f;
}

static void leave_boot(unsigned index)
{
	cpus[index].has_left = true;
	if (index == 0 && phase < BOOT_PHASES)
		phase = RUNNING;
}

static void on_el2(unsigned translated_on, void *user)
{
	unsigned index = running;
	struct site *site = user;
	struct cpu *cpu = &cpus[index];
	unsigned now = phase;
	if (phase < BOOT_PHASES && index != 0)
		now = SECONDARY_BOOT;
	site->executed[now]++;
	cpu->length += !site->is_apart;
	if (!site->is_apart && cpu->path.length < PATH_MAX_LENGTH)
		cpu->path.sites[cpu->path.length++] = site;
	cpu->list_registers += site->is_list_register;
	cpu->switched |= site->is_switch;
	if (site->is_piece && cpu->in_visit) {
		cpu->vector = PIECE;
		end_visit(index);
		begin_visit(cpu, PIECE);
		cpu->switched = true;
	} else if (site->is_end) {
		end_visit(index);
		if (!cpu->has_left)
			leave_boot(index);
	} else if (site->is_wait) {
		end_visit(index);
		/* A CPU without a guest waits in EL2: its boot is over as well. */
		if (!cpu->has_left)
			leave_boot(index);
		begin_visit(cpu, AFTER_WAIT);
	}
}

/* Follows what EL2 prints while it boots: "stage N:" is the phase. */
static void on_character(char character)
{
	static char line[LINE_BYTES];
	static size_t used;
	unsigned stage;
	if (character == '\n')
		used = 0;
	else if (used < sizeof line - 1)
		line[used++] = character;
	line[used] = 0;
	if (character == ':' && sscanf(line, "bulkhead| stage %u:", &stage) == 1 && stage < BOOT_PHASES)
		phase = stage;
}

static void on_access(unsigned translated_on, meminfo info, uint64_t address, void *user)
{
	struct qemu_plugin_hwaddr *physical = qemu_plugin_get_hwaddr(info, address);
	if (!physical || !qemu_plugin_hwaddr_is_io(physical))
		return;
	cpus[running].devices++;
	if (phase < BOOT_PHASES && qemu_plugin_mem_is_store(info) && qemu_plugin_hwaddr_phys_addr(physical) == uart)
		on_character(qemu_plugin_mem_get_value(info).data.u8);
}

static void on_mark(unsigned translated_on, void *user)
{
	phase = (unsigned)(uintptr_t)user;
}

static void on_guest(unsigned translated_on, void *is_loader)
{
	static bool was_loader;
	if (was_loader && !is_loader && phase >= FIRST_MARK)
		phase = LOADED;
	was_loader = is_loader;
	guests[phase] += !is_loader;
	loaders[phase] += !!is_loader;
}

static bool within(struct range range, uint64_t address)
{
	return address >= range.first && address < range.end;
}

/* MRS and MSR of ICH_*_EL2: op0 = 3, op1 = 4, CRn = 12, CRm = 8 to 15. */
static bool is_list_register(uint32_t opcode)
{
	return (opcode & 0xffdff800) == 0xd51cc800;
}

static void translate_el2(struct qemu_plugin_insn *insn, uint64_t address, uint32_t opcode, bool is_first)
{
	struct site *site = &sites[(address - text.first) / 4];
	uint64_t vector = address - vectors;
	site->address = address;
	site->is_end = opcode == OPCODE_ERET && !(vector < VECTOR_BYTES / 2);
	site->is_wait = opcode == OPCODE_WFI;
	site->is_switch = address == chooser;
	site->is_piece = address == pieces;
	site->is_list_register = is_list_register(opcode);
	for (unsigned i = 0; i < aparts; i++)
		site->is_apart |= within(apart[i], address);
	if (is_first)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_block, READS_REGISTERS, site);
	if (vector < VECTOR_BYTES && vector >= VECTOR_BYTES / 2 && vector % 0x80 == 0)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vector, READS_REGISTERS, site);
	qemu_plugin_register_vcpu_insn_exec_cb(insn, on_el2, NO_REGISTERS, site);
	qemu_plugin_register_vcpu_mem_cb(insn, on_access, NO_REGISTERS, ON_BOTH, site);
}

static void translate_guest(struct qemu_plugin_insn *insn, uint32_t opcode)
{
	unsigned mark = opcode == OPCODE_MZ ? LINUX_BOOT : 0;
	if ((opcode & HINT_MASK) == OPCODE_HINT && (opcode >> 5 & 0x7f) >= FIRST_MARK)
		mark = opcode >> 5 & 0x7f;
	if (mark)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGISTERS, (void *)(uintptr_t)mark);
	bool is_loader = within(loader, qemu_plugin_insn_vaddr(insn));
	if (loader.end)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_guest, NO_REGISTERS, (void *)(uintptr_t)is_loader);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint8_t *host = qemu_plugin_insn_haddr(insn);
		uint32_t opcode = 0;
		if (!host)
			continue;
		/* The first instruction after reset runs with the MMU off, from RAM. */
		if (!ram)
			ram = host - qemu_plugin_insn_vaddr(insn);
		uint64_t address = host - ram;
		qemu_plugin_insn_data(insn, &opcode, sizeof opcode);
		if (within(text, address))
			translate_el2(insn, address, opcode, i == 0);
		else
			translate_guest(insn, opcode);
	}
}

static void on_cpu(plugin_id id, unsigned index)
{
	const struct g_array *list = qemu_plugin_get_registers();
	const struct register_entry *entries = (const void *)list->data;
	for (unsigned i = 0; i < list->length; i++) {
		if (!strcmp(entries[i].name, "ESR_EL2"))
			esr = entries[i].handle;
		else if (!strcmp(entries[i].name, "ELR_EL2"))
			elr = entries[i].handle;
		else if (!strcmp(entries[i].name, "VTTBR_EL2"))
			vttbr = entries[i].handle;
		else if (!strcmp(entries[i].name, "TPIDR_EL2"))
			tpidr = entries[i].handle;
	}
	if (!is_bare && (!esr || !elr || !vttbr || !tpidr))
		give_up("QEMU does not show EL2's registers");
}

static int by_key(const void *left, const void *right)
{
	const struct visit *a = left, *b = right;
	for (int i = 0; i < 4; i++)
		if (a->key[i] != b->key[i])
			return a->key[i] < b->key[i] ? -1 : 1;
	return 0;
}

static void write_results(plugin_id id, void *user)
{
	FILE *file = fopen(output, "w");
	if (!file)
		give_up("cannot write its output");
	for (unsigned i = 0; i < CPUS; i++) {
		add_path(&shortest_switch[i], SHORTEST_SWITCH + i);
		add_path(&longest_switch[i], LONGEST_SWITCH + i);
	}
	add_path(&longest_stay, LONGEST_STAY);
	size_t used = 0;
	for (size_t i = 0; i < table_slots; i++)
		if (table[i].count)
			table[used++] = table[i];
	qsort(table, used, sizeof *table, by_key);
	for (size_t i = 0; i < used; i++) {
		const uint64_t *key = table[i].key;
		fprintf(file, "visit %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIx64 " %" PRIx64 " %" PRIu64
			" %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			key[0] >> 48, key[0] >> 40 & 0xff, key[0] >> 16 & 0xffff, key[0] >> 8 & 0xff, key[0] & 0xff,
			key[1], key[2], key[3] >> 32 & 0x7fffffff, key[3] & 0xffffffff, key[3] >> 63,
			table[i].count);
	}
	for (size_t i = 0; i < (text.end - text.first) / 4; i++)
		for (unsigned p = 0; p < PHASES; p++)
			if (sites[i].executed[p])
				fprintf(file, "pc %u %" PRIx64 " %" PRIu64 "\n", p, sites[i].address, sites[i].executed[p]);
	for (unsigned p = 0; p < PHASES; p++)
		if (guests[p] || loaders[p])
			fprintf(file, "guest %u %" PRIu64 " %" PRIu64 "\n", p, guests[p], loaders[p]);
	if (fclose(file))
		give_up("cannot write its output");
}

static bool range_of(const char *value, struct range *range)
{
	return sscanf(value, "%" SCNx64 "-%" SCNx64, &range->first, &range->end) == 2 && range->first < range->end;
}

static bool take(const char *argument)
{
	const char *value = strchr(argument, '=');
	if (!value++)
		return false;
	if (!strncmp(argument, "out=", 4))
		return (output = strdup(value)) != NULL;
	if (!strncmp(argument, "text=", 5))
		return range_of(value, &text);
	if (!strncmp(argument, "guests=", 7))
		return range_of(value, &loader);
	if (!strncmp(argument, "bare=", 5))
		return (is_bare = !strcmp(value, "on"));
	if (!strncmp(argument, "vectors=", 8))
		return sscanf(value, "%" SCNx64, &vectors) == 1;
	if (!strncmp(argument, "uart=", 5))
		return sscanf(value, "%" SCNx64, &uart) == 1;
	if (!strncmp(argument, "switch=", 7))
		return sscanf(value, "%" SCNx64, &chooser) == 1;
	if (!strncmp(argument, "pieces=", 7))
		return sscanf(value, "%" SCNx64, &pieces) == 1;
	if (!strncmp(argument, "apart=", 6))
		return aparts < APART_MAX && range_of(value, &apart[aparts++]);
	return false;
}

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int count, char **arguments)
{
	for (int i = 0; i < count; i++)
		if (!take(arguments[i])) {
			fprintf(stderr, "meter: cannot use argument %s\n", arguments[i]);
			return -1;
		}
	if (!output || (!is_bare && (!text.end || !vectors))) {
		fprintf(stderr, "meter: needs out=, and text= and vectors= or bare=on\n");
		return -1;
	}
	if (is_bare)
		phase = RUNNING;
	sites = calloc((text.end - text.first) / 4 + 1, sizeof *sites);
	table = calloc(table_slots, sizeof *table);
	scratch = g_byte_array_new();
	if (!sites || !table)
		return -1;
	qemu_plugin_register_vcpu_init_cb(id, on_cpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, write_results, NULL);
	return 0;
}
