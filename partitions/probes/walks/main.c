/* Asks the hardware how it translates: AT S12E1R, AT S12E1W or a store, and one instruction fetch for each address that
   the list at `requests` names. Runs at EL2 beside a packed image that lies in memory unstarted; EL1's MMU is off, so
   that what it shows is stage 2 alone. Read by scripts/xtask/src/test/walks.rs. */

#include <stdint.h>

extern const volatile uint64_t requests[];
extern const char store[];
uint64_t step(uint64_t address, uint64_t x0);

/* What requests are made of: a word that says which, then its operands. */
enum {
	END,  /* nothing follows */
	ROOT, /* address: the stage-2 root from now on */
	FLIP, /* address, mask: bits of one descriptor change */
	ASK,  /* address: prints PAR_EL1 of a read, PAR_EL1 of a write, ESR_EL2 of a fetch */
	ASK_BY_STORE, /* address: the same, but ESR_EL2 of a store in the place of the second */
};

#define READ(name) ({ uint64_t value_; __asm__ volatile("mrs %0, " name : "=r"(value_)); value_; })
#define WRITE(name, value) __asm__ volatile("msr " name ", %0" ::"r"((uint64_t)(value)))
#define BARRIER() __asm__ volatile("dsb sy\n\tisb" ::: "memory")

/* PL011 of QEMU's virt. */
static volatile uint32_t *const uart = (volatile uint32_t *)0x09000000;

static void put(char byte)
{
	while (uart[0x18 / 4] & 1 << 5)
		;
	uart[0] = (uint8_t)byte;
}

static void put_hex(uint64_t value, char end)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
	put(end);
}

static void power_off(void)
{
	register uint64_t x0 __asm__("x0") = 0x84000008; /* PSCI SYSTEM_OFF */

	__asm__ volatile("smc #0" : "+r"(x0)::"memory");
	for (;;)
		;
}

void stray(uint64_t vector)
{
	put('!');
	put_hex(vector, ' ');
	put_hex(READ("esr_el2"), '\n');
	power_off();
}

static void forget_translations(void)
{
	BARRIER();
	__asm__ volatile("tlbi vmalls12e1is");
	BARRIER();
}

/* What hv/arch/src/traps.rs sets, but HCR_EL2.DC: with the MMU of EL1 off, memory counts as Normal write-back at
   stage 1, and the type that AT shows is that of stage 2. Every trap that keeps a stepped instruction from doing
   anything is on. */
static void prepare(void)
{
	const uint64_t rw = 1ull << 31, dc = 1 << 12, vm = 1, traps = 1 << 13 | 1 << 14 | 3 << 16 | 3 << 18 | 0x1f << 20;
	const uint64_t pa_range = READ("id_aa64mmfr0_el1") & 15;

	uart[0x30 / 4] = 0x301;
	WRITE("hcr_el2", rw | dc | vm | traps);
	WRITE("vtcr_el2", 1ull << 31 | (pa_range < 5 ? pa_range : 5) << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25);
	WRITE("mdcr_el2", 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11); /* TDE, TDA, TDOSA, TDRA */
	WRITE("oslar_el1", 0);
	WRITE("mdscr_el1", 0);
	BARRIER();
}

static uint64_t ask_read(uint64_t address)
{
	__asm__ volatile("at s12e1r, %0\n\tisb" ::"r"(address));
	return READ("par_el1");
}

static uint64_t ask_write(uint64_t address)
{
	__asm__ volatile("at s12e1w, %0\n\tisb" ::"r"(address));
	return READ("par_el1");
}

/* Stores at EL1. The instruction has to lie in the guest's view: for as long as it takes, the last GiB of that shows
   this program's own. */
static uint64_t try_store(uint64_t root, uint64_t address)
{
	const uint64_t last = 511ull << 30, gib = (1 << 30) - 1, here = (uint64_t)store;
	volatile uint64_t *entry = (volatile uint64_t *)root + 511;
	const uint64_t before = *entry;
	uint64_t esr;

	*entry = (here & ~gib) | 0x77d; /* block: Normal write-back, read, execute */
	forget_translations();
	esr = step(last | (here & gib), address);
	*entry = before;
	forget_translations();
	return esr;
}

void answer(void)
{
	const volatile uint64_t *next = requests;
	uint64_t root = 0;

	prepare();
	for (;;) {
		switch (*next++) {
		case ROOT:
			root = *next++;
			WRITE("vttbr_el2", root | 1ull << 48);
			forget_translations();
			break;
		case FLIP: {
			volatile uint64_t *entry = (volatile uint64_t *)*next++;
			*entry ^= *next++;
			forget_translations();
			break;
		}
		case ASK: {
			uint64_t address = *next++;

			put_hex(ask_read(address), ' ');
			put_hex(ask_write(address), ' ');
			put_hex(step(address, 0), '\n');
			break;
		}
		case ASK_BY_STORE: {
			uint64_t address = *next++;

			put_hex(ask_read(address), ' ');
			put_hex(try_store(root, address), ' ');
			put_hex(step(address, 0), '\n');
			break;
		}
		case END:
			power_off();
			break;
		default:
			stray(~0ull);
		}
	}
}
