// EL1 vectors. Interrupts nest on the one stack; everything else is fatal and moves to a stack of
// its own, so that a stack overflow can be reported. See exception.rs and interrupt.rs.

.macro fatal_vector index
	.balign 0x80
	msr	tpidr_el1, x0
	msr	tpidr_el0, x1
	mov	x0, sp
	msr	tpidrro_el0, x0
	mov	x0, #\index
	b	fatal_entry
.endm

.section .text.vectors, "ax"
.balign 0x800
.global vectors
vectors:
	fatal_vector 0
	fatal_vector 1
	fatal_vector 2
	fatal_vector 3

	.balign 0x80				// synchronous, current EL with SP_ELx
	msr	tpidr_el1, x0
	msr	tpidr_el0, x1
	mrs	x0, elr_el1
	adrp	x1, __bulkhead_probe_hvc
	add	x1, x1, :lo12:__bulkhead_probe_hvc
	cmp	x0, x1
	b.eq	probe_undefined
	mov	x0, sp
	msr	tpidrro_el0, x0
	mov	x0, #4
	b	fatal_entry

	.balign 0x80				// IRQ, current EL with SP_ELx
	b	irq_entry

	fatal_vector 6
	fatal_vector 7
	fatal_vector 8
	fatal_vector 9
	fatal_vector 10
	fatal_vector 11
	fatal_vector 12
	fatal_vector 13
	fatal_vector 14
	fatal_vector 15

// HVC is UNDEFINED without EL2: answer as SMCCC does for an unknown call.
probe_undefined:
	add	x0, x0, #4
	msr	elr_el1, x0
	mrs	x1, tpidr_el0
	mov	x0, #-1
	eret

// x0 = vector, tpidr_el1 = x0, tpidr_el0 = x1, tpidrro_el0 = sp. The entry masked all of DAIF.
fatal_entry:
	adrp	x1, __fault_stack_end
	add	x1, x1, :lo12:__fault_stack_end
	sub	sp, x1, #272
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x19, [sp, #144]
	stp	x20, x21, [sp, #160]
	stp	x22, x23, [sp, #176]
	stp	x24, x25, [sp, #192]
	stp	x26, x27, [sp, #208]
	stp	x28, x29, [sp, #224]
	mrs	x2, tpidrro_el0
	stp	x30, x2, [sp, #240]
	str	x0, [sp, #256]
	mrs	x0, tpidr_el1
	mrs	x1, tpidr_el0
	stp	x0, x1, [sp]
	mov	x0, sp
	mov	x29, xzr
	mov	x30, xzr
	b	__bulkhead_fatal

// x19 to x28 are kept by the callee. ELR and SPSR are saved because handlers run with IRQs unmasked.
irq_entry:
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
	bl	__bulkhead_irq
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

// x0 = function identifier; returns x0 to x3. The only HVC that may be undefined.
.section .text.probe, "ax"
.global __bulkhead_probe
.type __bulkhead_probe, %function
__bulkhead_probe:
__bulkhead_probe_hvc:
	hvc	#0
	ret
.size __bulkhead_probe, . - __bulkhead_probe
.global __bulkhead_probe_hvc
