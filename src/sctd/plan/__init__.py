"""What a run would cost on machines that are not at hand: the verb `plan`.

devices.py        what a device can do, by its data sheet
communication.py  what processes send each other in a step
tables.py         what is shown
plan.py           the verb; memory is counted by sctd.train.step_memory
"""
