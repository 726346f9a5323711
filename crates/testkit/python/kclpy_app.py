"""A record processor of amazon_kclpy, as its users write them.

    kclpy_app.py FOLDER each|end [DATA]

It notes what it is told in FOLDER, as child.py does, and sets a checkpoint at each record or after
each batch. After the record with this data it dies, once.
"""

import os
import sys

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor

FOLDER, MODE, DIES_AT = (sys.argv[1:] + [None])[:3]


def note(name, line):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(line + "\n")


class Processor(processor.RecordProcessorBase):
    def initialize(self, initialize_input):
        self.shard = initialize_input.shard_id
        note("actions", f"{self.shard} initialize {initialize_input.sequence_number}")

    def process_records(self, process_records_input):
        checkpointer = process_records_input.checkpointer
        for record in process_records_input.records:
            data = record.binary_data.decode()
            place = f"{record.sequence_number} {record.sub_sequence_number}"
            note("records", f"{self.shard} {place} {data}")
            if MODE == "each":
                checkpointer.checkpoint(record.sequence_number, record.sub_sequence_number)
            if data == DIES_AT and not os.path.exists(os.path.join(FOLDER, "failed")):
                note("failed", str(os.getpid()))
                os._exit(3)
        if MODE == "end":
            checkpointer.checkpoint()

    def lease_lost(self, lease_lost_input):
        note("actions", f"{self.shard} leaseLost")

    def shard_ended(self, shard_ended_input):
        shard_ended_input.checkpointer.checkpoint()
        note("actions", f"{self.shard} shardEnded")

    def shutdown_requested(self, shutdown_requested_input):
        shutdown_requested_input.checkpointer.checkpoint()
        note("actions", f"{self.shard} shutdownRequested")


kcl.KCLProcess(Processor()).run()
note("actions", "all EOF")
