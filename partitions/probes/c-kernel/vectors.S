/* Exceptions at EL1 with SP_EL1: SVC, IRQ (nesting); everything else is fatal. */

	.macro	entry handler
	.balign	0x80
	b	\handler
	.endm

	.text
	.balign	0x800
	.global vectors
vectors:
	.rept	4
	entry	fatal
	.endr
	entry	synchronous
	entry	irq
	entry	fatal
	entry	fatal
	.rept	8
	entry	fatal
	.endr

	.macro	save
	sub	sp, sp, #192
	stp	x0, x1, [sp]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x29, [sp, #144]
	mrs	x0, elr_el1
	mrs	x1, spsr_el1
	stp	x30, x0, [sp, #160]
	str	x1, [sp, #176]
	.endm

	.macro	restore
	ldr	x1, [sp, #176]
	ldp	x30, x0, [sp, #160]
	msr	spsr_el1, x1
	msr	elr_el1, x0
	ldp	x18, x29, [sp, #144]
	ldp	x16, x17, [sp, #128]
	ldp	x14, x15, [sp, #112]
	ldp	x12, x13, [sp, #96]
	ldp	x10, x11, [sp, #80]
	ldp	x8, x9, [sp, #64]
	ldp	x6, x7, [sp, #48]
	ldp	x4, x5, [sp, #32]
	ldp	x2, x3, [sp, #16]
	ldp	x0, x1, [sp]
	add	sp, sp, #192
	eret
	.endm

irq:
	save
	bl	handle_irq
	restore

/* SVC only: x0 is the argument and the result. */
synchronous:
	save
	mrs	x1, esr_el1
	lsr	x2, x1, #26
	cmp	x2, #0x15
	b.ne	fatal
	and	x1, x1, #0xffff
	ldr	x0, [sp]
	bl	handle_svc
	str	x0, [sp]
	restore

fatal:
	mrs	x0, esr_el1
	mrs	x1, elr_el1
	mrs	x2, far_el1
	bl	handle_fatal
1:	wfi
	b	1b
