"""What a running supervisor does besides: its folders, signals, service manager, and what operators have it do."""
