"""Owns the terms in which scanners and radiographers say what a series shows: tables, and nothing that decides.

Words are regular expressions, sought in a description of lower case without accents where no letter stands on either
side of them; a blank in them stands for any signs that are neither letters nor digits, or for none.

References:
    DICOM PS3.3 C.8.3.1.1.1 (ImageType of MR), C.8.13.1.1.1 and C.8.16.1 (of Enhanced MR: flavours, derived pixel
    contrast), C.8.13.3.1 (AcquisitionContrast); PS3.16 Annex L (BodyPartExamined).
    Names of sequences: "MRI acronyms" (Siemens 2018, which sets them beside GE's, Philips', Hitachi's and Canon's).
"""

import re
import unicodedata
from dataclasses import dataclass

# DICOM's three texts hold 64 characters each; what is longer is not read.
LONGEST_DESCRIPTION = 256
_BLANK = "[^a-z0-9]*"


def words(*expressions: str) -> re.Pattern[str]:
    """Return what finds any of these words in a `plain` text."""
    joined = "|".join(expressions).replace(" ", _BLANK)
    return re.compile(f"(?<![a-z])(?:{joined})(?![a-z])")


def plain(text: str) -> str:
    """Return a text in lower case, without accents, with one blank for several and for underscores."""
    decomposed = unicodedata.normalize("NFKD", text[:LONGEST_DESCRIPTION].lower())
    unaccented = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    # "sagt1" and "3dt2" are two words, as "fspgr+c" is.
    parted = re.sub(r"(ax|axial|tra|cor|sag|[23]d)(?=t[12])", r"\1 ", unaccented).replace("+", " +")
    return re.sub(r"[\s_]+", " ", parted)


def _values(joined: str) -> frozenset[str]:
    return frozenset(joined.split("|"))


@dataclass(frozen=True, slots=True)
class Terms:
    """What gives a kind of series away.

    Attributes:
        shows: What it shows, for a sentence.
        image_types: Values of ImageType, upper case, in any place.
        words: Words of its description.
    """

    shows: str
    image_types: frozenset[str]
    words: re.Pattern[str]


# Survey and SmartBrain are Philips', AAHead Scout Siemens', 3-plane GE's.
LOCALIZER = Terms(
    "a localizer",
    _values("LOCALIZER|SCOUT"),
    words(r"lo[ck]ali[sz]\w+|loc|\w*scout\w*|survey|smart brain|3 pl(?:ane)?|pilot|plan scan|topogram|reperage"),
)
# Not the "sub-01" of research archives.
SUBTRACTION = Terms(
    "a difference of two series",
    _values("SUB|SUBTRACT|SUBTRACTION|MODULUS SUBTRACT|PHASE SUBTRACT"),
    words(r"sub(?! \d)|subtr\w*|soustr\w*|sustra\w*|sottra\w*"),
)
PROJECTION = Terms(
    "a projection",
    _values("PROJECTION IMAGE|MIP|MAX_IP|MINIP|MNIP|MIN_IP|VRT|SSD|3D RENDERING"),
    words("mips?|mini?p|vrt|3d rendering"),
)
# "t1_mpr_sag" is also how MPRAGE is shortened, so these words count only where ImageType does not say ORIGINAL.
REFORMAT = Terms(
    "a reformat",
    _values("MPR|MPR_THICK|MPR_THIN|CPR|REFORMATTED|CSA RESAMPLED|RESAMPLED"),
    words(r"mpr|reformat\w*|cpr"),
)
OTHER_CONTRASTS = (
    Terms(
        "diffusion",
        _values(
            "DIFFUSION|DIFFUSION MAP|ADC|EADC|ADC_UNSPECIFIED|TRACEW|TRACE|FA|COLFA|TENSOR|TENSOR_B0|DIFFUSION_ANISO"
            "|DIFFUSION_ATTNTD"
        ),
        words(r"dwi?\w{0,2}|dti|diff?(?:u[sz]i\w+)?|e?adc|trace w?|b \d{3,4}|resolve|dwibs"),
    ),
    Terms(
        "perfusion or another time course",
        _values("PERFUSION|PERFUSION_ASL|ASL|CBF|CBV|RCBF|RCBV|RELCBF|RELCBV|RELMTT|MTT|TTP|TMAX|PBP|GBP|FMRI|DYNAMIC"),
        words(
            r"perf\w*|dsc|dce|pwi|r?cb[fv]|mtt|ttp|tmax|p?c?asl|bold|fmri|dyn\w*|twist|test bolus|care bolus",
        ),
    ),
    Terms(
        "susceptibility",
        _values("SWI|T2_STAR|T2_STAR MAP|QSM"),
        words(r"swi|swan|swip|venobold|qsm|t2w?\*|t2 star|medic|hemo\w*|mag images"),
    ),
    Terms(
        "angiography",
        _values("ANGIO|ANGIO_TIME|TOF|FLOW_ENCODED|VELOCITY|VELOCITY MAP"),
        words(r"tof|mra|mrv|angio\w*|pca|venogra\w*|inhance|tricks"),
    ),
    Terms(
        "a part of a complex image",
        _values("P|PHASE|PHASE MAP|PHASE_MAP|R|REAL|I|IMAGINARY"),
        words(r"pha(?:se)? images?|phasenbild\w*"),
    ),
    Terms(
        "fat, or opposed phases",
        _values("FAT|F|OP|OUT_PHASE|OPP_PHASE|OUT PHASE|FAT_FRACTION|FF"),
        words("fat only|opp(?:osed)? phase|out (?:of )?phase|dixon (?:fat|opp|f)"),
    ),
    Terms(
        "a map of a quantity or of the field",
        _values(
            "T1 MAP|T2 MAP|T1_MAP|T2_MAP|R2_MAP|R2STAR_MAP|DENSITY MAP|B0|B0 MAP|B1|B1 MAP|FIELD MAP|FIELD_MAP|QUANTITY"
            "|TEMPERATURE|METABOLITE_MAPS|INV1|INV2"
        ),
        words(
            r"t[12] map\w*|t[12] images|map it|inv [12]|b[01] map\w*|field map\w*|gre field|shim|asset cal\w*|calib\w*",
            "ref scan|sense ref",
        ),
    ),
    Terms(
        "spectroscopy",
        _values("SPECTROSCOPY|SPECT|CSI"),
        words(r"svs|csi|mrs|spe[ck]tro\w*"),
    ),
    Terms(
        "proton density, suppressed tissue or a steady state",
        _values("PROTON_DENSITY|STIR|CINE|TAGGING"),
        words("pdw?|proton density|stir|dir|double inversion|ciss|fiesta|b ffe|true fisp|trufi|cine"),
    ),
)
# AcquisitionContrast of Enhanced MR that is neither T1 nor T2 nor FLUID_ATTENUATED.
OTHER_ACQUISITION_CONTRASTS = _values("DIFFUSION|FLOW_ENCODED|PERFUSION|PROTON_DENSITY|STIR|TAGGING|T2_STAR|TOF")

# MPRAGE and TFL are Siemens', BRAVO, FSPGR and LAVA GE's, TFE and THRIVE Philips', QUICK3D and FFE3D Canon's. SPACE,
# CUBE and VISTA come in any weighting, and say nothing.
T1 = words(r"t1(?!\d)\w{0,3}|mp2?rage\w*|bravo|e?f?spgr\w*|tfl3d\w*|3d tfe|vibe|lava|thrive|ffe 3d|quick 3d|uni images")
T2 = words(r"t2(?!\d)\w{0,2}")
# Turbo inversion recovery of magnitude with dark fluid is Siemens' FLAIR.
FLAIR = words(r"\w*flair\w*|dark fl(?:uid)?|da fl(?:uid)?|t2 tirm|spcir\w*")

# Contrast medium: KM is German, PDC French, MDC Italian.
_NAMED = (
    r"(?:(?:iv )?(?:contrast\w*|kontrast\w*|km|mdc|pdc|gd|gad|gado\w*|gadavist|dotarem|prohance|magnevist|omniscan"
    r"|multihance|clariscan|inj|inject\w*|iniez\w*|inyec\w*))"
)
# "T1 W C-SPINE" is no contrast medium.
_AGENT = rf"(?:{_NAMED}|\+? c(?! spine))"
_BEFORE = "(?:pre|prae?|vor|avant|antes(?: de)?|prima|voor|before)"
_WITHOUT = "(?:w/o|wo|without|ohne|sans|sin|sem|senza|zonder|no|non|kein)"
# The w of "T1W" is another.
_WITH = r"(?:(?<!\d)w|with|mit|avec|con|com|met)"
_AFTER = "(?:post?|nach|apres|despues(?: de)?|dopo|na|after)"
_AND = "(?:and|und|et|y|e|en|u)?"
# Before or after an operation, radiation or drugs, and the posterior fossa, are something else; a radial trajectory and
# a cranium are no treatment.
_NO_TREATMENT = (
    r"(?! (?:op|oper\w*|surg\w*|proc\w*|resect\w*|crani(?!al|um)\w*|biop\w*|rt|rtx|xrt|wbrt|srs|srt|sbrt|gk|gamma\w*"
    r"|cyber\w*|rad(?!ial)\w*|tx|treat\w*|therap\w*|chemo\w*|fossa|scan)(?![a-z]))"
)
# Names of protocols with both, which say nothing of either.
BOTH = words(
    rf"{_WITH} {_AND} {_WITHOUT}(?: {_AGENT})?",
    rf"{_WITHOUT} {_AND} {_WITH}(?: {_AGENT})?",
    rf"pre {_AND} post(?: {_AGENT})?",
    rf"nati[vf]e? {_AND} (?:{_AFTER}|{_WITH})? {_NAMED}",
)
PRE = words(
    rf"{_BEFORE} {_AGENT}",
    rf"{_WITHOUT} {_AGENT}",
    rf"(?:pre|prae?){_NO_TREATMENT}",
    r"nati[vf]e?|o km|blanco|basale|plain|w/o$|wo$|(?:un|non )enhanced",
)
POST = words(
    rf"{_AFTER} {_AGENT}",
    rf"{_WITH} {_AGENT}",
    rf"post{_NO_TREATMENT}",
    _NAMED,
    r"\+ c(?! spine)|c \+|t1w?ce?|ce|enhanced",
)
# Flavours of Enhanced MR, PS3.3 C.8.16.1.3.
PRE_FLAVOUR, POST_FLAVOUR = "PRE_CONTRAST", "POST_CONTRAST"

# Of the description alone; it outweighs a BodyPartExamined that was set for the whole examination.
HEAD = words(r"brain|head|kopf|schadel|g?e?hirn|crani?\w*|cereb\w*|ence(?:f|ph)\w*|testa|tete")
OTHER_BODY_PART = words(
    r"\w{0,2}spine|spinal\w*|[hbl]ws|wirbel\w*|rachis|columna|colonna|neck|hals|cervi[ck]al\w*|thora\w*|chest|lumb\w*",
    r"knee|knie|shoulder|schulter|hip|pelvis|abdomen|liver|kidney|prostat\w*|uterus|breast|mamma|heart|leg|ankle|foot|arm",
    r"elbow|wrist|hand|extremity",
)
