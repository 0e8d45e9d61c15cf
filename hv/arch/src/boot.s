/*
 * From the loader of the board to Rust at EL2 (arm64 boot protocol, Linux
 * Documentation/arch/arm64/booting.rst): x0 = device tree, MMU and data cache off.
 */
	.section .text.head, "ax"
	.global bulkhead_head
bulkhead_head:
	b	primary
	.long	0
	.quad	0			/* text_offset: the board's load address is a multiple of 2 MiB */
	.quad	0			/* image_size: written by the packer */
	.quad	0xA			/* flags: little-endian, 4 KiB pages, anywhere in memory */
	.quad	0
	.quad	0
	.quad	0
	.ascii	"ARM\x64"
	.long	0

	/* Address of the CPU's stack end in x1, index in x0. Clobbers x2. */
	.macro stack_of_cpu
	adrp	x1, __el2_end		/* the blueprint */
	ldr	x1, [x1, #STACKS_AT]
	mov	x2, #STACK_STRIDE
	madd	x1, x0, x2, x1
	add	x1, x1, x2
	.endm

	/* Invalidates data-cache lines of [x1, x2): what firmware left must not be written back over
	   what is stored with the cache off (Arm ARM B2.11; docs/caches.md, row 3). Clobbers x3, x4. */
	.macro invalidate
	mrs	x3, ctr_el0
	ubfx	x3, x3, #16, #4
	mov	x4, #4
	lsl	x4, x4, x3
1:	dc	ivac, x1
	add	x1, x1, x4
	cmp	x1, x2
	b.lo	1b
	dsb	sy
	.endm

primary:
	msr	daifset, #0xF
	mov	x20, x0
	adr	x21, bulkhead_head
	adrp	x22, __el2_end		/* the blueprint, believed as far as its magic and version go */
	ldr	x1, [x22, #MAGIC_AT]
	ldr	x2, =MAGIC
	cmp	x1, x2
	b.ne	halt			/* no console is known */
	ldr	w1, [x22, #VERSION_AT]
	cmp	w1, #VERSION
	b.ne	halt
	bl	board_writes
	ldr	x23, [x22, #UART_AT]
	mov	w1, #0x301		/* UARTCR: on, sender, receiver (ARM DDI 0183, 3.3.8) */
	str	w1, [x23, #0x30]
	adr	x1, stage_0
	bl	print
	mrs	x1, CurrentEL
	lsr	x2, x1, #2
	cmp	x2, #2
	b.eq	at_el2
	add	w2, w2, #'0'
	adr	x1, wrong_level
	bl	print
	str	w2, [x23]
	b	halt
at_el2:
	adrp	x1, bulkhead_vectors	/* from here on an exception prints its registers */
	add	x1, x1, :lo12:bulkhead_vectors
	msr	vbar_el2, x1
	isb

	adrp	x1, __data_start
	adrp	x2, __el2_end
	invalidate
	adrp	x1, __data_start
	adrp	x2, __el2_end
2:	stp	xzr, xzr, [x1], #16
	cmp	x1, x2
	b.lo	2b

	adrp	x1, __data_start
	adrp	x2, __data_copied
	add	x2, x2, :lo12:__data_copied
	adrp	x3, __data_load
	add	x3, x3, :lo12:__data_load
	b	4f
3:	ldp	x4, x5, [x3], #16
	stp	x4, x5, [x1], #16
4:	cmp	x1, x2
	b.lo	3b

	/* The stack of last resort: where the others are the blueprint says, which nobody has checked. */
	adrp	x1, __emergency_stack_end
	add	x1, x1, :lo12:__emergency_stack_end
	mov	sp, x1

	/* MMU off: console, link address, counter, blueprint, firmware's device tree. */
	mov	x0, x20
	mov	x1, x21
	bl	bulkhead_early

	adrp	x1, __data_start
	adrp	x2, __el2_end
	dsb	sy
	invalidate
	bl	mmu_on
	ldr	x1, [x22, #STACKS_AT]
	add	x1, x1, #STACK_STRIDE
	mov	sp, x1
	bl	bulkhead_main
	b	halt

	/* A secondary CPU, by PSCI CPU_ON or from the spin-table. */
	.global bulkhead_secondary_head
bulkhead_secondary_head:
	msr	daifset, #0xF
	adrp	x1, bulkhead_vectors
	add	x1, x1, :lo12:bulkhead_vectors
	msr	vbar_el2, x1
	isb
	bl	mmu_on
	mrs	x0, mpidr_el1
	and	x0, x0, #0xFF		/* boards' affinity 0 is the CPU's index; the compiler checks it */
	stack_of_cpu
	mov	sp, x1
	bl	bulkhead_secondary
halt:
	wfe
	b	halt

	/* The stores that the board asks for before anything else: pins, line rate, light. x22 = blueprint.
	   Clobbers x1-x7. */
board_writes:
	ldr	w1, [x22, #WRITES_AT]
	add	x1, x1, x22
	ldr	w2, [x22, #BOOT_WRITES_AT]
	cbz	w2, 3f
1:	ldr	x3, [x1]
	ldp	w4, w5, [x1, #8]
	mov	w6, #0
	cbz	w4, 2f
	ldr	w6, [x3]
	and	w6, w6, w4
2:	orr	w6, w6, w5
	str	w6, [x3]
	add	x1, x1, #WRITE_BYTES
	subs	w2, w2, #1
	b.ne	1b
	dsb	sy
3:	ret

	/* Sends the text at x1 to the UART at x23, waiting for room, but not for ever. Clobbers x1, x3-x5. */
print:
	ldrb	w3, [x1], #1
	cbz	w3, 3f
	mov	w4, #(1 << 20)
1:	ldr	w5, [x23, #0x18]	/* UARTFR */
	tbz	w5, #5, 2f
	subs	w4, w4, #1
	b.ne	1b
2:	str	w3, [x23]
	b	print
3:	ret

	/* Blinks for ever: x0 = address and x1 = value that light, x2 and x3 those that darken, x4 = how
	   often before a pause. The MMU goes off first: the light's page is in no table of EL2's. */
	.global bulkhead_blink
bulkhead_blink:
	mrs	x5, sctlr_el2
	bic	x5, x5, #1		/* M */
	bic	x5, x5, #4		/* C */
	msr	sctlr_el2, x5
	isb
	mrs	x9, cntfrq_el0
	lsr	x9, x9, #2		/* a quarter of a second */
1:	mov	x5, x4
2:	str	w1, [x0]
	mov	x6, #1
	bl	pause
	str	w3, [x2]
	mov	x6, #1
	bl	pause
	subs	x5, x5, #1
	b.ne	2b
	mov	x6, #6
	bl	pause
	b	1b
pause:
	mul	x6, x6, x9
	mrs	x7, cntpct_el0
	add	x7, x7, x6
1:	yield
	isb
	mrs	x8, cntpct_el0
	cmp	x8, x7
	b.lo	1b
	ret
stage_0:
	.asciz	"bulkhead| stage 0: first instruction\r\n"
wrong_level:
	.asciz	"bulkhead| boot stopped: EL2 is needed, entered at EL"
	.balign	4

	/* Turns on the stage-1 MMU and the caches of EL2 with the table that the compiler built. */
mmu_on:
	adrp	x1, __el2_end		/* the blueprint */
	ldr	x1, [x1, #EL2_ROOT]
	msr	ttbr0_el2, x1
	ldr	x1, =MAIR_VALUE
	msr	mair_el2, x1
	ldr	x1, =TCR_VALUE
	mrs	x2, id_aa64mmfr0_el1
	and	x2, x2, #7		/* PARange: no output address above 48 bits with 4 KiB tables */
	cmp	x2, #5
	mov	x3, #5
	csel	x2, x2, x3, ls
	orr	x1, x1, x2, lsl #16
	msr	tcr_el2, x1
	dsb	ish
	tlbi	alle2
	ic	iallu
	dsb	nsh
	isb
	ldr	x1, =SCTLR_VALUE
	msr	sctlr_el2, x1
	isb
	ret
	.ltorg
