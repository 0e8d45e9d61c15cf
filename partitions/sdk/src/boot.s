// Entry at EL1, MMU off, x0 = device tree or 0. See boot.rs.

.section .text.boot, "ax"
.global _start
.type _start, %function
_start:
	msr	daifset, #0xf
	mov	x20, x0
	msr	spsel, #1
	adrp	x1, __stack_end
	add	x1, x1, :lo12:__stack_end
	mov	sp, x1

	adrp	x1, vectors			// faults in early code stop there instead of anywhere
	add	x1, x1, :lo12:vectors
	msr	vbar_el1, x1
	isb

	adrp	x1, __bss_start			// page-aligned end, 16-byte aligned start
	add	x1, x1, :lo12:__bss_start
	adrp	x2, __bss_end
	add	x2, x2, :lo12:__bss_end
1:	cmp	x1, x2
	b.hs	2f
	stp	xzr, xzr, [x1], #16
	b	1b

2:	mov	x0, x20
	bl	__bulkhead_early
	mov	x19, x0

	// Drop cache lines over everything written with the MMU off. The loader cleaned them, so none
	// is dirty (under stage 2 DC IVAC may clean as well, Arm ARM D7.5.9).
	dsb	sy
	mrs	x3, ctr_el0
	ubfx	x3, x3, #16, #4			// DminLine: log2 of words
	mov	x4, #4
	lsl	x4, x4, x3
	adrp	x1, __rodata_end		// .data to the end of the stacks
	add	x1, x1, :lo12:__rodata_end
	adrp	x2, __fault_stack_end
	add	x2, x2, :lo12:__fault_stack_end
3:	dc	ivac, x1
	add	x1, x1, x4
	cmp	x1, x2
	b.lo	3b
	dsb	sy

	ldr	x1, =0x04ff			// MAIR: 0 = Normal write-back, 1 = Device-nGnRE
	msr	mair_el1, x1
	mrs	x2, id_aa64mmfr0_el1
	and	x2, x2, #0xf			// PARange
	mov	x3, #5				// 48 bits at most: 4 KiB granule without LPA2
	cmp	x2, x3
	csel	x2, x2, x3, lo
	ldr	x1, =0x00803519			// TCR: T0SZ 25, WBWA, inner shareable, 4 KiB, EPD1
	orr	x1, x1, x2, lsl #32
	msr	tcr_el1, x1
	msr	ttbr0_el1, x19
	isb
	tlbi	vmalle1
	dsb	nsh
	ic	iallu
	dsb	nsh
	isb
	ldr	x1, =0x30d8198d			// SCTLR: RES1, WXN, I, SA, C, M; A = 0
	msr	sctlr_el1, x1
	isb

	mov	x29, xzr
	mov	x30, xzr
	b	__bulkhead_late
.size _start, . - _start
