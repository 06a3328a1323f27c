"""The simulator: bona fide faces in, the twelve presentation types out, with true boxes and true cues.

`portrait` holds the shared vocabulary, `drawn` and `photos` make bona fide faces, `scene` puts one in front of a background and
lights it, `attacks/` turns a scene into one of the eleven attack types, `camera` photographs every class alike, and `dataset`
writes the pictures and `samples.jsonl`.
"""
