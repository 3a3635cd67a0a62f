"""`python -m outrider` is the command `outrider`."""

from outrider.cli import main

raise SystemExit(main())
