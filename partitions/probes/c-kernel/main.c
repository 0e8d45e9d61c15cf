/* A kernel in the style of FreeRTOS or Zephyr that knows nothing of Bulkhead: vectors of its own,
   polled PL011, GICv2 or v3 by ID register, SVC, nested interrupts, priority mask, both timers, cache
   maintenance by set and way when it turns its MMU on, PSCI by SMC. */
#include "kernel.h"

#define PSCI_VERSION 0x84000000UL
#define PSCI_FEATURES 0x8400000aUL
#define PSCI_UNKNOWN 0x8400001fUL
#define TICKS 20u
#define DEPTH 4u
#define PATIENCE_S 20u

static volatile uint32_t ticks[2];
static volatile uint32_t depth, deepest, nested, wrong_priority, spurious;
static uint32_t passed, failed;
static uint64_t period;

static uint64_t root[512] __attribute__((section(".tables"), aligned(4096)));
static uint64_t second[512] __attribute__((section(".tables"), aligned(4096)));

static void put(char c)
{
	while (read32(UART + 0x18) & 1u << 5)
		;
	write32(UART, (uint8_t)c);
}

static void print(const char *text)
{
	for (; *text; text++)
		put(*text);
}

static void print_number(uint64_t value, uint32_t base)
{
	char digits[20];
	uint32_t count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		put(digits[--count]);
}

static void check(const char *name, uint64_t found, uint64_t expected)
{
	print(found == expected ? "PASS " : "FAIL ");
	print(name);
	if (found == expected) {
		passed++;
	} else {
		failed++;
		print(": found 0x");
		print_number(found, 16);
		print(", expected 0x");
		print_number(expected, 16);
	}
	print("\n");
}

void handle_fatal(uint64_t esr, uint64_t elr, uint64_t far)
{
	print("FAULT esr=0x");
	print_number(esr, 16);
	print(" elr=0x");
	print_number(elr, 16);
	print(" far=0x");
	print_number(far, 16);
	print("\n");
}

uint64_t handle_svc(uint64_t argument, uint64_t immediate)
{
	return argument * 2 + immediate;
}

static uint64_t call_svc(uint64_t argument)
{
	register uint64_t x0 __asm__("x0") = argument;

	__asm__ volatile("svc #7" : "+r"(x0) : : "memory");
	return x0;
}

/* Priority of SGI n: each next one is more urgent. */
static uint8_t sgi_priority(uint32_t sgi)
{
	return (uint8_t)(0xc0 - 0x20 * sgi);
}

static void on_tick(uint32_t physical)
{
	uint64_t next;

	ticks[physical]++;
	if (physical) {
		next = read_register("cntp_cval_el0") + period;
		write_register("cntp_cval_el0", next);
		if (ticks[1] == TICKS)
			write_register("cntp_ctl_el0", 0);
	} else {
		next = read_register("cntv_cval_el0") + period;
		write_register("cntv_cval_el0", next);
		if (ticks[0] == TICKS)
			write_register("cntv_ctl_el0", 0);
	}
}

static void on_sgi(uint32_t sgi)
{
	uint32_t before;

	depth++;
	nested++;
	if (depth > deepest)
		deepest = depth;
	if (gic_running_priority() != sgi_priority(sgi))
		wrong_priority++;
	before = nested;
	if (sgi + 1 < DEPTH) {
		gic_send_to_self(sgi + 1);
		while (nested == before)
			;
	}
	depth--;
}

void handle_irq(void)
{
	uint32_t value = gic_acknowledge();
	uint32_t intid = value & (gic_is_v3() ? 0xffffff : 0x3ff);

	if (intid >= SPURIOUS) {
		spurious++;
		return;
	}
	irq_unmask();
	if (intid == TIMER_VIRTUAL || intid == TIMER_PHYSICAL)
		on_tick(intid == TIMER_PHYSICAL);
	else
		on_sgi(intid);
	irq_mask();
	gic_end(value);
}

/* Devices below 1 GiB, memory above, in blocks. */
static void enable_mmu(void)
{
	uint32_t index;

	for (index = 0; index < 512; index++)
		second[index] = (0x40000000UL + ((uint64_t)index << 21)) | 0x701;
	root[0] = 0x0060000000000405UL;
	root[1] = (uintptr_t)second | 3;
	__asm__ volatile("dsb sy" : : : "memory");
	cache_clean_invalidate_all();
	mmu_on((uintptr_t)root);
	check("MMU and caches on after set/way maintenance", read_register("sctlr_el1") & 0x1005, 0x1005);
}

static int in_time(volatile uint32_t *counter, uint32_t target)
{
	uint64_t end = read_register("cntvct_el0") + PATIENCE_S * read_register("cntfrq_el0");

	while (*counter < target)
		if (read_register("cntvct_el0") > end)
			return 0;
	return 1;
}

static void check_interrupts(void)
{
	uint32_t sgi;

	gic_init();
	for (sgi = 0; sgi < DEPTH; sgi++)
		gic_enable(sgi, sgi_priority(sgi));
	irq_unmask();
	gic_send_to_self(0);
	check("nested interrupts are all taken", (uint64_t)in_time(&nested, DEPTH), 1);
	check("depth of nesting", deepest, DEPTH);
	check("running priority at each depth", wrong_priority, 0);
	gic_set_mask(0x40);
	check("priority mask reads back", gic_mask(), 0x40);
	gic_send_to_self(0);
	__asm__ volatile("isb");
	check("held back by the priority mask", nested, DEPTH);
	irq_mask();
	gic_set_mask(0xf8);
	check("highest pending interrupt", gic_highest_pending(), 0);
	irq_unmask();
	check("taken with the mask open", (uint64_t)in_time(&nested, 2 * DEPTH), 1);
}

static void check_timers(void)
{
	uint64_t now = read_register("cntvct_el0");

	period = read_register("cntfrq_el0") / 1000;
	write_register("cntv_cval_el0", now + period);
	write_register("cntp_cval_el0", now + period);
	gic_enable(TIMER_VIRTUAL, 0x30);
	gic_enable(TIMER_PHYSICAL, 0x38);
	write_register("cntv_ctl_el0", 1);
	write_register("cntp_ctl_el0", 1);
	check("ticks of the virtual timer", (uint64_t)in_time(&ticks[0], TICKS), 1);
	check("ticks of the physical timer", (uint64_t)in_time(&ticks[1], TICKS), 1);
}

void kernel_main(uint64_t tree)
{
	write32(UART + 0x30, 0x301);
	print(gic_is_v3() ? "c-kernel on GICv3\n" : "c-kernel on GICv2\n");
	check("x0 names a device tree", read32(tree), 0xedfe0dd0);
	check("exception level", read_register("currentel"), 4);
	enable_mmu();
	check("SVC", call_svc(21), 49);
	check("PSCI_VERSION by SMC", (uint64_t)psci_smc(PSCI_VERSION, 0), 0x10001);
	check("PSCI_FEATURES of itself", (uint64_t)psci_smc(PSCI_FEATURES, PSCI_FEATURES), 0);
	check("an unknown SMC", (uint64_t)psci_smc(PSCI_UNKNOWN, 0), (uint64_t)-1);
	check_interrupts();
	check_timers();
	check("spurious interrupts", spurious, 0);
	print("probe c-kernel: ");
	print_number(passed, 10);
	print(" passed, ");
	print_number(failed, 10);
	print(" failed\n");
}
