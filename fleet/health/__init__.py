"""What devices' health comes to: history in steps, faults, drift. The figures are devices', the judgement is here."""
