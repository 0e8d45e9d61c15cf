// Entry of a second CPU: MMU off, x0 = launch record (mair, tcr, ttbr0, sctlr, vbar, stack, entry).

.section .text.probes.cpu, "ax"
.global __probes_second
.type __probes_second, %function
__probes_second:
	msr	daifset, #0xf
	ldp	x1, x2, [x0]
	ldp	x3, x4, [x0, #16]
	ldp	x5, x6, [x0, #32]
	ldr	x7, [x0, #48]
	msr	spsel, #1
	msr	mair_el1, x1
	msr	tcr_el1, x2
	msr	ttbr0_el1, x3
	msr	vbar_el1, x5
	isb
	tlbi	vmalle1
	ic	iallu
	dsb	nsh
	isb
	msr	sctlr_el1, x4
	isb
	mov	sp, x6
	mov	x29, xzr
	mov	x30, xzr
	br	x7
.size __probes_second, . - __probes_second
