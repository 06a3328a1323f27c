"""The shortest program: one photo in, verdict, type, reason and region out.

python examples/quickstart.py photo.jpg
"""

import sys

from faceshield import FaceShieldPredictor

shield = FaceShieldPredictor.from_pretrained("tiny")
for path in sys.argv[1:]:
    report = shield.inspect(path)
    if report.status != "ok":
        print(f"{path}: {report.status} {report.error or ''}")
        continue
    print(f"{path}: {report.verdict}, {report.presentation_type} (bona fide score {report.bonafide_score:.3f})")
    print(f"  admitted: {'yes' if report.accepted else 'no'} {report.advice or ''}")
    print(f"  why: {report.reasoning}")
    print(f"  where: {report.boxes or 'nowhere'}")
