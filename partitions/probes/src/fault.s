// Vectors of a probe: a synchronous exception while `__probes_catch` is armed is noted and survived;
// everything else goes to the runtime's vectors. See fault.rs.

.macro pass_on offset
	.balign 0x80
	b	vectors + \offset
.endm

.section .text.probes, "ax"
.balign 0x800
.global __probes_vectors
__probes_vectors:
	pass_on 0x000
	pass_on 0x080
	pass_on 0x100
	pass_on 0x180

	.balign 0x80
	msr	tpidr_el1, x0
	msr	tpidr_el0, x1
	adrp	x0, __probes_catch
	add	x0, x0, :lo12:__probes_catch
	ldr	x1, [x0]
	cbz	x1, not_expected
	b	expected

	pass_on 0x280
	pass_on 0x300
	pass_on 0x380
	pass_on 0x400
	pass_on 0x480
	pass_on 0x500
	pass_on 0x580
	pass_on 0x600
	pass_on 0x680
	pass_on 0x700
	pass_on 0x780

not_expected:
	mrs	x0, tpidr_el1
	mrs	x1, tpidr_el0
	b	vectors + 0x200

// x0 = catch record: resume, esr, far, elr, count.
expected:
	mrs	x1, esr_el1
	str	x1, [x0, #8]
	mrs	x1, far_el1
	str	x1, [x0, #16]
	mrs	x1, elr_el1
	str	x1, [x0, #24]
	ldr	x1, [x0, #32]
	add	x1, x1, #1
	str	x1, [x0, #32]
	ldr	x1, [x0]			// 1: go on behind the instruction; else: go on there
	cmp	x1, #1
	b.ne	1f
	ldr	x1, [x0, #24]
	add	x1, x1, #4
1:	msr	elr_el1, x1
	mrs	x0, tpidr_el1
	mrs	x1, tpidr_el0
	eret
